//! Host and kernel on the same frames, by the million.

use std::{env, fmt, mem, str::FromStr};

use anyhow::{Context as _, Result, bail};
use jit_common::reason::Reason;

use super::{Generator, HostJudge, Judge as _, KernelJudge, Random, SHORTEST};

/// The number of frames that are judged together. All of them have the same reason in the host's judgement, so that one
/// look at the kernel's counters afterwards shows whether the kernel agrees on each.
const BATCH: usize = 1000;

/// The extent of a run: `cargo xtask test --frames N --seed S` sets both values.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The number of frames of all tests together.
    pub frames: u64,
    /// The seed of the sequence of frames.
    pub seed: u64,
}

impl Extent {
    /// The extent in `JIT_TEST_FRAMES` and `JIT_TEST_SEED`; a million frames of a fixed seed by default.
    ///
    /// # Errors
    /// A variable is set, but is not a number.
    pub fn from_environment() -> Result<Self> {
        Ok(Self { frames: number("JIT_TEST_FRAMES", 1_000_000)?, seed: number("JIT_TEST_SEED", 1)? })
    }
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, default: T) -> Result<T> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is '{text}', which is no number")),
        Err(_) => Ok(default),
    }
}

/// The share of a frame in its first buffer; the rest is in further buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// As many bytes as fit, some 3,500.
    Full,
    /// A random number of the bytes that the program looks at.
    Split,
}

struct Case {
    number: u64,
    frame: Vec<u8>,
    first_buffer: usize,
}

/// The number of times that each reason was met.
#[derive(Clone, Debug, Default)]
pub struct Tally([u64; Reason::COUNT]);

impl Tally {
    /// The reasons that were met less than `least` times, except for those that can't be met.
    #[must_use]
    pub fn rarer_than(&self, least: u64, impossible: &[Reason]) -> Vec<&'static str> {
        let rare = self.each().filter(|(reason, count)| *count < least && !impossible.contains(reason));
        rare.map(|(reason, _)| reason.name()).collect()
    }

    fn each(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} frames", self.0.iter().sum::<u64>())?;
        self.each().try_for_each(|(reason, count)| write!(formatter, ", {} {count}", reason.name()))
    }
}

/// Two judges of the same world.
pub struct Comparison<'a> {
    /// The judge that runs the sources.
    pub host: &'a HostJudge,
    /// The judge that runs the object.
    pub kernel: &'a KernelJudge,
}

impl Comparison<'_> {
    /// Lets both judge the frames with the numbers from 0 on, except for frames that the kernel can't judge.
    ///
    /// # Errors
    /// The judges differ over a frame: the text shows the whole frame, and the part of it that causes the difference.
    pub fn run(&self, generator: &Generator, frames: u64, buffers: Buffers) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut waiting: [Vec<Case>; Reason::COUNT] = Default::default();
        for number in 0..frames {
            let frame = generator.frame(number);
            if !self.kernel.takes(&frame) {
                continue;
            }
            let first_buffer = match buffers {
                Buffers::Full => frame.len(),
                Buffers::Split => Random::new(!number, 0).below(frame.len().min(200) + 1),
            };
            let reason = self.host.judge(&frame)?;
            let alike = &mut waiting[reason as usize];
            alike.push(Case { number, frame, first_buffer });
            tally.0[reason as usize] += 1;
            if alike.len() == BATCH {
                self.judge(reason, &mem::take(alike)).with_context(|| format!("seed {}", generator.seed()))?;
            }
        }
        for (reason, alike) in Reason::ALL.iter().zip(waiting) {
            self.judge(*reason, &alike).with_context(|| format!("seed {}", generator.seed()))?;
        }
        Ok(tally)
    }

    fn judge(&self, reason: Reason, alike: &[Case]) -> Result<()> {
        let frames = alike.iter().map(|case| (&case.frame[..], case.first_buffer));
        let Err(error) = self.kernel.judges_all_as(reason, frames) else { return Ok(()) };
        for Case { number, frame, first_buffer } in alike {
            if let Some(difference) = self.difference(frame, *first_buffer) {
                let least = self.reduced(frame, *first_buffer);
                bail!(
                    "frame {number}, {first_buffer} of {} bytes in the first buffer: {difference}\n{}\nreduced:\n{}",
                    frame.len(),
                    hex(frame),
                    hex(&least)
                );
            }
        }
        Err(error.context("but one by one all are judged alike"))
    }

    fn difference(&self, frame: &[u8], first_buffer: usize) -> Option<String> {
        let expected = self.host.judge(frame).map_or("no reason", Reason::name);
        match self.kernel.judge_split(frame, first_buffer) {
            Ok(found) if found.name() == expected => None,
            Ok(found) => Some(format!("{} instead of {expected}", found.name())),
            Err(error) => Some(format!("{error:#} instead of {expected}")),
        }
    }

    /// The frame with its end cut off and its bytes zeroed, as long as the judges still differ.
    fn reduced(&self, frame: &[u8], first_buffer: usize) -> Vec<u8> {
        let mut least = frame.to_vec();
        while least.len() > SHORTEST && self.difference(&least[..least.len() - 1], first_buffer).is_some() {
            least.pop();
        }
        for place in 0..least.len() {
            let byte = mem::take(&mut least[place]);
            if self.difference(&least, first_buffer).is_none() {
                least[place] = byte;
            }
        }
        least
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

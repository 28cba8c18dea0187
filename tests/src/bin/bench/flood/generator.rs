//! The source of the frames: an XDP program that gives each frame another source, run on live frames.
//!
//! Nothing computes a checksum per packet: where a word `x` goes into the source address, `!x` goes into another word
//! of the same sum, and in ones' complement arithmetic `x + !x` is constant (RFC 1624).

use anyhow::{Context, Result};

use super::traffic::{SOURCES, Traffic};
use crate::{
    bpf::{Program, State},
    instructions::{
        CALL_KTIME_GET_NS, EXIT, Instruction, Register, action, add, address_of_state, copy, invert, load_u32,
        load_u64, set, skip_unless_above, store_u16, store_u64,
    },
};

/// Offsets in a frame of the 16-bit words that differ from packet to packet.
pub(crate) struct Variable {
    /// The offset of the source address's last word.
    pub(crate) source: usize,
    /// The offsets of the words that get the inverse of that word.
    pub(crate) inverses: Vec<usize>,
}

/// A generator of frames of one kind of traffic.
pub(crate) struct Generator {
    fast: Program,
    paced: Program,
    idle: Program,
    _state: State,
}

/// What the generator does with a frame.
#[derive(Clone, Copy)]
enum Course {
    /// The frame is sent.
    Send,
    /// The frame is sent if so many nanoseconds have passed since the last frame's turn; otherwise it goes nowhere.
    Pace(i32),
    /// The frame goes nowhere.
    Discard,
}

/// The number of late frames that a paced flood may make up for.
const ARREARS: i32 = 4096;

impl Generator {
    /// Loads the programs of the generator; `pace` is the rate of the paced program in packets a second.
    ///
    /// # Errors
    /// The kernel refuses a program.
    pub(crate) fn load(traffic: Traffic, pace: u32) -> Result<Self> {
        let state = State::new()?;
        let load = |course| Program::load(&program(&traffic.variable(), &state, course)?);
        let interval = i32::try_from(1_000_000_000 / pace).context("the pace is too slow")?;
        let (fast, paced, idle) = (load(Course::Send)?, load(Course::Pace(interval))?, load(Course::Discard)?);
        Ok(Self { fast, paced, idle, _state: state })
    }

    /// Sends one frame from each source, `sweeps` times, by `interface`, an index in the current network namespace.
    ///
    /// # Errors
    /// The kernel refuses to send the frames.
    pub(crate) fn send(&self, frame: &[u8], interface: u32, sweeps: u32) -> Result<()> {
        self.fast.run_live(frame, interface, sweeps * SOURCES)
    }

    /// Makes [`SOURCES`] frames, `sweeps` times, and sends the frames whose turn has come.
    ///
    /// # Errors
    /// The kernel refuses to send the frames.
    pub(crate) fn send_paced(&self, frame: &[u8], interface: u32, sweeps: u32) -> Result<()> {
        self.paced.run_live(frame, interface, sweeps * SOURCES)
    }

    /// Makes the same frames as [`send`](Self::send), but discards them: the cost of the generator itself.
    ///
    /// # Errors
    /// The kernel refuses to run the program.
    pub(crate) fn discard(&self, frame: &[u8], interface: u32, sweeps: u32) -> Result<()> {
        self.idle.run_live(frame, interface, sweeps * SOURCES)
    }
}

fn program(variable: &Variable, state: &State, course: Course) -> Result<Vec<Instruction>> {
    const FRAME: Register = Register::R2;
    const NUMBER: Register = Register::R5;
    let offset = |offset: usize| i16::try_from(offset).context("the frame is too long for a BPF instruction");
    let last = variable.inverses.iter().fold(variable.source, |last, inverse| last.max(*inverse));
    let mut program = Vec::new();
    if let Course::Pace(interval) = course {
        program.extend([copy(Register::R6, Register::R1), CALL_KTIME_GET_NS]);
        program.extend(address_of_state(Register::R1, state.descriptor()));
        program.extend([
            load_u64(Register::R2, Register::R1, State::TURN),
            skip_unless_above(Register::R2, Register::R0, 2),
            set(Register::R0, action::DROP),
            EXIT,
            add(Register::R2, interval),
            add(Register::R0, -ARREARS * interval),
            skip_unless_above(Register::R0, Register::R2, 1),
            copy(Register::R2, Register::R0),
            store_u64(Register::R1, State::TURN, Register::R2),
            copy(Register::R1, Register::R6),
        ]);
    }
    program.extend([
        load_u32(FRAME, Register::R1, 0),
        load_u32(Register::R3, Register::R1, 4),
        copy(Register::R4, FRAME),
        add(Register::R4, i32::from(offset(last)?) + 2),
        skip_unless_above(Register::R4, Register::R3, 2),
        set(Register::R0, action::ABORTED),
        EXIT,
    ]);
    program.extend(address_of_state(Register::R1, state.descriptor()));
    program.extend([
        load_u64(NUMBER, Register::R1, State::SOURCE),
        add(NUMBER, 1),
        store_u64(Register::R1, State::SOURCE, NUMBER),
        store_u16(FRAME, offset(variable.source)?, NUMBER),
        invert(NUMBER),
    ]);
    for inverse in &variable.inverses {
        program.push(store_u16(FRAME, offset(*inverse)?, NUMBER));
    }
    let result = if matches!(course, Course::Discard) { action::DROP } else { action::TX };
    program.extend([set(Register::R0, result), EXIT]);
    Ok(program)
}

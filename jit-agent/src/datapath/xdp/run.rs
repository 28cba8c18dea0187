//! The loaded programs, run on frames without an interface.

use std::time::Duration;

use aya::programs::{ProgramInfo, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya_obj::programs::XdpAttachType;
use jit_policy::Layer;

use super::{XdpDatapath, object::tc_name};
use crate::datapath::DatapathError;

/// A second handle on a loaded program. It can be sent to another thread, so that packets are judged there while the
/// datapath changes. For tests and benchmarks.
pub struct Runner(Xdp);

/// A program of the object, for tests and benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// XDP on interfaces with Ethernet headers.
    Xdp,
    /// The classifier on interfaces with Ethernet headers.
    Tc,
    /// The classifier on interfaces whose packets begin with the IP header.
    TcNetwork,
}

impl Entry {
    /// Every program.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::Tc, Self::TcNetwork];

    const fn layer(self) -> Layer {
        match self {
            Self::Xdp | Self::Tc => Layer::Ethernet,
            Self::TcNetwork => Layer::Network,
        }
    }

    /// Whether the program's packets begin with the IP header.
    #[must_use]
    pub fn is_network(self) -> bool {
        self.layer() == Layer::Network
    }

    /// Whether the program is a classifier, whose verdicts have other numbers.
    #[must_use]
    pub const fn is_tc(self) -> bool {
        matches!(self, Self::Tc | Self::TcNetwork)
    }
}

impl XdpDatapath {
    /// Loads a program other than the one for XDP with Ethernet headers, which is loaded from the start.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn load_entry(&mut self, entry: Entry) -> Result<(), DatapathError> {
        match entry {
            Entry::Xdp => drop(self.object.xdp(entry.layer())?),
            Entry::Tc | Entry::TcNetwork => drop(self.object.tc(entry.layer())?),
        }
        Ok(())
    }

    /// Name of a program, as it is in the object.
    #[must_use]
    pub fn entry_name(&self, entry: Entry) -> &'static str {
        match entry {
            Entry::Xdp => self.object.xdp_name(entry.layer()),
            Entry::Tc | Entry::TcNetwork => tc_name(entry.layer()),
        }
    }

    /// Runs the program on a frame without sending the frame anywhere, for tests and benchmarks. Returns the program's
    /// verdict, and the mean time of `repeat` runs. Counters count such runs too.
    ///
    /// # Errors
    /// The kernel refuses the frame (those below 14 bytes) or the run.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<(u32, Duration), DatapathError> {
        self.test_run_of(Entry::Xdp, frame, repeat)
    }

    /// Runs a loaded program on a frame, as [`test_run`](Self::test_run) does.
    ///
    /// # Errors
    /// The kernel refuses the frame (those below 14 bytes) or the run, or the program is not loaded.
    pub fn test_run_of(&self, entry: Entry, frame: &[u8], repeat: u32) -> Result<(u32, Duration), DatapathError> {
        let options = of_frame(frame, repeat);
        match entry {
            Entry::Xdp => run(self.object.loaded_xdp(entry.layer())?, options),
            Entry::Tc | Entry::TcNetwork => run(self.object.loaded_tc(entry.layer())?, options),
        }
    }

    /// Runs the program on a frame of which only the first `first_buffer` bytes are in its first buffer, as some
    /// network cards and large MTUs have it. Returns the program's verdict.
    ///
    /// # Errors
    /// As [`test_run`](Self::test_run); a kernel before 6.18 refuses every such run.
    pub fn test_run_split(&self, frame: &[u8], first_buffer: usize) -> Result<u32, DatapathError> {
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(first_buffer as u32).to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat: 1, ..TestRunOptions::new() };
        Ok(run(self.object.loaded_xdp(Layer::Ethernet)?, options)?.0)
    }

    /// What the kernel reports of a program; `None` if the program is not loaded.
    #[must_use]
    pub fn info(&self, entry: Entry) -> Option<ProgramInfo> {
        match entry {
            Entry::Xdp => self.object.loaded_xdp(entry.layer()).ok()?.info().ok(),
            Entry::Tc | Entry::TcNetwork => self.object.loaded_tc(entry.layer()).ok()?.info().ok(),
        }
    }

    /// A handle that runs this program, with these maps.
    ///
    /// # Errors
    /// The kernel gives no second handle on the program.
    pub fn runner(&self) -> Result<Runner, DatapathError> {
        let program = self.object.loaded_xdp(Layer::Ethernet)?;
        let name = self.object.xdp_name(Layer::Ethernet).into();
        let again = program.info().and_then(|info| Xdp::from_program_info(info, name, XdpAttachType::Interface));
        again.map(Runner).map_err(|error| DatapathError::kernel("opening the loaded program once more", error))
    }
}

impl Runner {
    /// Runs the program, as [`XdpDatapath::test_run`] does.
    ///
    /// # Errors
    /// The kernel refuses the frame (those below 14 bytes) or the run.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<(u32, Duration), DatapathError> {
        run(&self.0, of_frame(frame, repeat))
    }
}

fn of_frame(frame: &[u8], repeat: u32) -> TestRunOptions<'_> {
    TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() }
}

fn run<P>(program: &P, options: TestRunOptions<'_>) -> Result<(u32, Duration), DatapathError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let result = program.test_run(options).map_err(|error| DatapathError::kernel("running the program", error))?;
    Ok((result.return_value, result.duration))
}

//! The loaded program, run on frames without an interface.

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;

use super::XdpDatapath;
use crate::datapath::DatapathError;

/// A second handle on a loaded program. It can be sent to another thread, so that packets are judged there while the
/// datapath changes. For tests and benchmarks.
pub struct Runner(Xdp);

impl XdpDatapath {
    /// Runs the program on a frame without sending it anywhere, for tests and benchmarks: what the program returned,
    /// and the mean time of `repeat` runs. Counters count such runs too.
    ///
    /// # Errors
    /// The kernel refuses the frame (those below 14 bytes) or the run.
    pub fn test_run(&self, frame: &[u8], repeat: u32) -> Result<(u32, Duration), DatapathError> {
        run(self.object.loaded()?, of_frame(frame, repeat))
    }

    /// Runs the program on a frame of which only the first `first_buffer` bytes are in its first buffer, as some network
    /// cards and large MTUs have it, and says what it returned.
    ///
    /// # Errors
    /// As [`test_run`](Self::test_run); a kernel before 6.18 refuses every such run.
    pub fn test_run_split(&self, frame: &[u8], first_buffer: usize) -> Result<u32, DatapathError> {
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(first_buffer as u32).to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat: 1, ..TestRunOptions::new() };
        Ok(run(self.object.loaded()?, options)?.0)
    }

    /// A handle that runs this program, with these maps.
    ///
    /// # Errors
    /// The kernel doesn't give the program out once more.
    pub fn runner(&self) -> Result<Runner, DatapathError> {
        let program = self.object.loaded()?;
        let again = program
            .info()
            .and_then(|info| Xdp::from_program_info(info, self.object.program_name().into(), XdpAttachType::Interface));
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

fn run(program: &Xdp, options: TestRunOptions<'_>) -> Result<(u32, Duration), DatapathError> {
    let result = program.test_run(options).map_err(|error| DatapathError::kernel("running the program", error))?;
    Ok((result.return_value, result.duration))
}

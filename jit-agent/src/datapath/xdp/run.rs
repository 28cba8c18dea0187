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
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.0.test_run(options).map_err(|error| DatapathError::kernel("running the program", error))?;
        Ok((result.return_value, result.duration))
    }
}

//! The programs, loaded and run with the capabilities of the service.

use jit_agent::datapath::xdp::Entry;
use jit_common::abi::Mode;
use jit_tests::{
    Sandbox, rights,
    verdicts::{KernelJudge, differences, protection, table::fixtures_of},
};

#[test]
fn under_the_services_rights_every_program_loads_and_judges_as_the_table_says() -> anyhow::Result<()> {
    for entry in Entry::ALL {
        let sandbox = Sandbox::new()?;
        let directory = sandbox.bpffs().join("jit-agent");
        let load = || KernelJudge::new(&directory, &protection(Mode::Enforce, false))?.of(entry);
        let judge = rights::with_only(rights::SERVICE, load)??;
        assert_eq!(differences(&judge, &fixtures_of(entry)), [""; 0], "{entry:?}");
    }
    Ok(())
}

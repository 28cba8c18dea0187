//! The packet table, on the host and in the kernel.

use jit_common::abi::Mode;
use jit_tests::{
    Sandbox,
    verdicts::{
        HostJudge, KernelJudge, differences, differences_when_cut, protection,
        table::{fixtures, fixtures_with_fragments_dropped},
    },
};

const NONE: [String; 0] = [];

fn kernel_judge(sandbox: &Sandbox, mode: Mode, drop_fragments: bool) -> anyhow::Result<KernelJudge> {
    KernelJudge::new(&sandbox.bpffs().join("jit-agent"), &protection(mode, drop_fragments))
}

#[test]
fn the_host_judges_every_packet_of_the_table_as_the_table_says() -> anyhow::Result<()> {
    assert_eq!(differences(&HostJudge::enforcing()?, &fixtures()), NONE);
    let strict = HostJudge::new(&protection(Mode::Enforce, true))?;
    assert_eq!(differences(&strict, &fixtures_with_fragments_dropped()), NONE);
    Ok(())
}

#[test]
fn the_kernel_judges_every_packet_of_the_table_as_the_table_says() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    assert_eq!(differences(&kernel_judge(&sandbox, Mode::Enforce, false)?, &fixtures()), NONE);
    Ok(())
}

#[test]
fn the_kernel_drops_fragments_where_they_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let judge = kernel_judge(&sandbox, Mode::Enforce, true)?;
    assert_eq!(differences(&judge, &fixtures_with_fragments_dropped()), NONE);
    Ok(())
}

#[test]
fn in_observe_mode_every_packet_passes_and_is_counted_as_what_it_would_be() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    // The judge itself holds the program's answer against mode and reason.
    assert_eq!(differences(&kernel_judge(&sandbox, Mode::Observe, false)?, &fixtures()), NONE);
    Ok(())
}

#[test]
fn host_and_kernel_agree_on_every_packet_of_the_table_cut_at_every_byte() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let kernel = kernel_judge(&sandbox, Mode::Enforce, false)?;
    assert_eq!(differences_when_cut(&kernel, &HostJudge::enforcing()?, &fixtures())?, NONE);
    Ok(())
}

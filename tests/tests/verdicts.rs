//! The packet table, on the host and in the kernel.

use std::fs;

use jit_agent::datapath::xdp::{Entry, XdpDatapath};
use jit_common::abi::Mode;
use jit_tests::{
    Sandbox,
    verdicts::{
        HostJudge, KernelJudge, differences, differences_when_cut, instructions, protection,
        table::{fixtures, fixtures_of, fixtures_with_fragments_dropped, for_entry},
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
    // The judge itself checks the program's answer against mode and reason.
    assert_eq!(differences(&kernel_judge(&sandbox, Mode::Observe, false)?, &fixtures()), NONE);
    Ok(())
}

#[test]
fn each_program_judges_every_packet_of_the_table_as_the_table_says() -> anyhow::Result<()> {
    for entry in Entry::ALL {
        let table = fixtures_of(entry);
        assert_eq!(differences(&HostJudge::enforcing()?.of(entry), &table), NONE, "{entry:?}, the host");
        for mode in [Mode::Enforce, Mode::Observe] {
            let sandbox = Sandbox::new()?;
            let judge = kernel_judge(&sandbox, mode, false)?.of(entry)?;
            assert_eq!(differences(&judge, &table), NONE, "{entry:?}, {mode:?}");
        }
        let sandbox = Sandbox::new()?;
        let strict = kernel_judge(&sandbox, Mode::Enforce, true)?.of(entry)?;
        let table = for_entry(entry, fixtures_with_fragments_dropped());
        assert_eq!(differences(&strict, &table), NONE, "{entry:?}, fragments refused");
    }
    Ok(())
}

#[test]
fn host_and_each_program_agree_on_every_packet_of_the_table_cut_at_every_byte() -> anyhow::Result<()> {
    for entry in Entry::ALL {
        let sandbox = Sandbox::new()?;
        let kernel = kernel_judge(&sandbox, Mode::Enforce, false)?.of(entry)?;
        let host = HostJudge::enforcing()?.of(entry);
        assert_eq!(differences_when_cut(&kernel, &host, &fixtures_of(entry))?, NONE, "{entry:?}");
    }
    Ok(())
}

#[test]
fn the_verifier_walks_through_no_more_instructions_than_recorded() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let mut datapath = XdpDatapath::load(&sandbox.bpffs().join("jit-agent"))?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    for line in instructions::check(&mut datapath, release.trim())? {
        println!("{line}");
    }
    Ok(())
}

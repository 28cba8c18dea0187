//! Host and kernel judge generated frames: the verdict and the reason must be the same for each.
#![expect(clippy::print_stdout, reason = "the number of frames for each reason belongs to the result")]

use std::path::Path;

use jit_agent::datapath::xdp::{Entry, probe};
use jit_common::{abi::Mode, reason::Reason};
use jit_policy::Interfaces;
use jit_tests::{
    Sandbox,
    verdicts::{Buffers, Comparison, Extent, Generator, HostJudge, KernelJudge, protection},
};

/// The least number of frames for each reason. In a run of the usual extent, a rarer reason is hardly tested.
const LEAST: u64 = 100;

/// What a comparison runs under: mode, handling of fragments, program and buffers.
#[derive(Clone, Copy, Debug)]
struct World {
    mode: Mode,
    drop_fragments: bool,
    entry: Entry,
    buffers: Buffers,
}

/// The usual world.
const USUAL: World = World { mode: Mode::Enforce, drop_fragments: false, entry: Entry::Xdp, buffers: Buffers::Full };

/// Judges a share of all frames, in percent, in one world. Each world has its own frames.
fn agree(share: u64, world: World, impossible: &[Reason]) -> anyhow::Result<()> {
    let World { mode, drop_fragments, entry, buffers } = world;
    let extent = Extent::from_environment()?;
    let sandbox = Sandbox::new()?;
    let protection = protection(mode, drop_fragments);
    let kernel = KernelJudge::new(&sandbox.bpffs().join("jit-agent"), &protection)?.of(entry)?;
    if let Some(why) = kernel.cannot_split().filter(|_| buffers == Buffers::Split) {
        println!("SKIP: host and kernel agree wherever the first buffer ends: {why}");
        return Ok(());
    }
    let comparison = Comparison { host: &HostJudge::new(&protection)?.of(entry), kernel: &kernel };
    let generator = Generator::new(extent.seed.wrapping_mul(100).wrapping_add(share)).of(entry);
    let frames = extent.frames * share / 100;
    let tally = comparison.run(&generator, frames, buffers)?;
    println!("NOTE: host and kernel agree ({world:?}) on {tally}");
    assert_eq!(tally.rarer_than(LEAST.min(frames / 1000), impossible), [""; 0]);
    Ok(())
}

#[test]
fn host_and_kernel_agree_on_generated_frames() -> anyhow::Result<()> {
    agree(35, USUAL, &[Reason::FragmentRefused, Reason::Forwarded])
}

#[test]
fn host_and_kernel_agree_where_fragments_are_refused() -> anyhow::Result<()> {
    let impossible = [Reason::LaterFragment, Reason::OtherFragment, Reason::Forwarded];
    agree(16, World { drop_fragments: true, ..USUAL }, &impossible)
}

#[test]
fn host_and_kernel_agree_in_observe_mode() -> anyhow::Result<()> {
    agree(10, World { mode: Mode::Observe, ..USUAL }, &[Reason::FragmentRefused, Reason::Forwarded])
}

#[test]
fn host_and_kernel_agree_wherever_the_first_buffer_ends() -> anyhow::Result<()> {
    agree(15, World { buffers: Buffers::Split, ..USUAL }, &[Reason::FragmentRefused, Reason::Forwarded])
}

#[test]
fn host_and_kernel_agree_about_what_a_classifier_gets() -> anyhow::Result<()> {
    agree(13, World { entry: Entry::Tc, ..USUAL }, &[Reason::FragmentRefused, Reason::Forwarded])
}

#[test]
fn host_and_kernel_agree_about_what_a_classifier_gets_from_a_tunnel() -> anyhow::Result<()> {
    let ethernet = [Reason::TruncatedEthernet, Reason::TooManyVlanTags, Reason::BadIpVersion];
    let impossible = [&ethernet[..], &[Reason::FragmentRefused, Reason::Forwarded]].concat();
    agree(11, World { entry: Entry::TcNetwork, ..USUAL }, &impossible)
}

/// Linux 5.18 and later deliver packets in several buffers. If such a kernel refused this program, interfaces with
/// large MTUs would stay uncovered.
#[test]
fn the_program_for_packets_in_several_buffers_is_the_one_that_is_loaded() {
    let (well, problems) = probe(&Interfaces::default(), Path::new("/sys/fs/bpf"));
    assert_eq!(well.first().map(String::as_str), Some("the kernel accepts the program jit_xdp_frags"), "{problems:?}");
}

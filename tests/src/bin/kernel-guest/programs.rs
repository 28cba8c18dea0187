//! Every program of the object, on this kernel.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use jit_agent::datapath::xdp::{Entry, XdpDatapath, unload};
use jit_common::abi::Mode;
use jit_tests::{
    rights::{SERVICE, with_only},
    verdicts::{
        HostJudge, KernelJudge, differences, differences_when_cut, instructions, protection, table::fixtures_of,
    },
};

use crate::{BPFFS, kernel_judge, none, release};

pub(crate) fn judge_the_table() -> Result<()> {
    let mut kernel = kernel_judge(Mode::Enforce, false)?;
    for entry in Entry::ALL {
        kernel = kernel.of(entry)?;
        let host = HostJudge::enforcing()?.of(entry);
        let table = fixtures_of(entry);
        none(&differences(&kernel, &table)).with_context(|| format!("{entry:?}"))?;
        none(&differences_when_cut(&kernel, &host, &table)?).with_context(|| format!("{entry:?}, cut"))?;
    }
    Ok(())
}

pub(crate) fn load_under_the_services_rights() -> Result<()> {
    let directory = Path::new(BPFFS).join("jit-agent");
    unload(&directory).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let mut judge = with_only(SERVICE, || KernelJudge::new(&directory, &protection(Mode::Enforce, false)))??;
    for entry in Entry::ALL {
        judge = with_only(SERVICE, || judge.of(entry))?.with_context(|| format!("{entry:?}"))?;
        none(&differences(&judge, &fixtures_of(entry))).with_context(|| format!("{entry:?}"))?;
    }
    Ok(())
}

pub(crate) fn verified_as_recorded() -> Result<()> {
    let directory = Path::new(BPFFS).join("jit-agent");
    unload(&directory).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    for line in instructions::check(&mut XdpDatapath::load(&directory)?, &release()?)? {
        println!("verifier: {line}");
    }
    Ok(())
}

/// Checks the hooks to which the agent can attach. Other checks show that the agent attaches XDP by a link.
pub(crate) fn hooks() -> Result<()> {
    let frags = kernel_judge(Mode::Enforce, false)?.datapath().entry_name(Entry::Xdp).contains("frags");
    println!("hook: XDP for packets in several buffers: {}", if frags { "yes" } else { "no" });
    let tcx = SchedClassifier::query_tcx("lo", TcAttachType::Ingress);
    let tcx = tcx.map_or_else(|error| format!("no: {error}"), |_| "yes".to_owned());
    println!("hook: TCX: {tcx}");
    Ok(())
}

//! The package on a Debian with systemd in a virtual machine, observed from outside: `debian-vm IMAGE PACKAGE
//! LATER_PACKAGE`, as `cargo xtask test` calls this program.
//!
//! Prints `ok NAME` or `FAILED NAME: why` for each check, then `debian-vm: N passed, N failed`.
#![expect(clippy::print_stdout, reason = "where the results go")]

mod channel;
mod faults;
mod gaps;
mod installed;
mod machine;
mod packages;
mod rebooted;
mod traffic;
mod wire;
mod world;

use std::{env, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};

use crate::world::World;

/// A check, which an error fails. Each check continues with the machine as the previous check has left it.
type Check = (&'static str, fn(&mut World) -> Result<()>);

fn main() -> ExitCode {
    let parts: [&[Check]; 5] =
        [&installed::CHECKS, &gaps::CHECKS, &rebooted::CHECKS, &faults::CHECKS, &packages::CHECKS];
    match run(&parts.concat()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAILED to start: {error:#}");
            println!("debian-vm: 0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs the checks, and returns the number of failures.
fn run(checks: &[Check]) -> Result<u32> {
    let arguments: Vec<_> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [image, packages @ ..] = arguments.as_slice() else {
        anyhow::bail!("which image? Use `cargo xtask test --vm`")
    };
    ensure!(packages.len() == 2, "which packages? Use `cargo xtask test --vm`");
    let begin = Instant::now();
    let mut world = World::new(image, packages).context("the machine does not start")?;
    println!("started in {} s", begin.elapsed().as_secs());
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for (name, check) in checks {
        let begin = Instant::now();
        match check(&mut world) {
            Ok(()) => {
                println!("ok {name} ({} s)", begin.elapsed().as_secs());
                passed += 1;
            }
            Err(error) => {
                println!("FAILED {name}: {}", format!("{error:#}").replace('\n', " | "));
                failed += 1;
                world.explain();
            }
        }
    }
    println!("took {} s", begin.elapsed().as_secs());
    println!("debian-vm: {passed} passed, {failed} failed");
    Ok(failed)
}

//! The demo: what jit-agent does, step by step and in real time, with a real OpenSSH server behind it.
//!
//! Everything happens in private namespaces and in memory. The kernel removes both when this process ends or is
//! interrupted, so there is nothing to clean up.

mod acts;
mod scene;
mod stage;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;

use crate::{scene::Scene, stage::Stage};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If even this text can't be written, the exit code has to suffice.
            let _ = writeln!(io::stderr(), "\nThe demo stopped: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo, and returns whether every promise was kept.
fn run() -> Result<bool> {
    let mut stage = Stage::new();
    let mut scene = Scene::new()?;
    acts::introduce(&mut stage)?;
    let played = play(&mut stage, &mut scene);
    let fine = played.is_ok() && stage.summary()?;
    if !fine {
        stage.output(&format!("The agent: {}", scene.agent_report()))?;
    }
    played.map(|()| fine)
}

fn play(stage: &mut Stage, scene: &mut Scene) -> Result<()> {
    acts::unprotected(stage, scene)?;
    acts::locked(stage, scene)?;
    let grant = acts::opened_for_one_source(stage, scene)?;
    acts::ends_by_itself(stage, scene, grant)?;
    acts::prefix_in_ipv6(stage, scene)?;
    acts::agent_killed(stage, scene)
}

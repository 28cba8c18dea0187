//! Attaches the program to one interface, by the best way that the kernel accepts.

use jit_policy::{Layer, Way};

use super::{
    error::{AttachError, Obstacle, Rival, joined},
    ways::{self, Kernel, Target},
};

/// How an interface is attached.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) way: Way,
    /// The id of our program on the interface.
    pub(super) program: u32,
    /// Why the program is not attached in a better way.
    obstacles: Vec<Obstacle>,
}

impl Attached {
    /// Why the program is not attached in a better way, for people.
    pub(super) fn note(&self) -> Option<String> {
        (!self.obstacles.is_empty()).then(|| joined(&self.obstacles))
    }
}

impl Kernel<'_> {
    /// Attaches the program: natively, else by TCX before all other programs, else by a filter, else in generic mode.
    /// On a link that a predecessor pinned, the program replaces the predecessor's, so that there is no moment without
    /// a program.
    pub(super) fn attach_best(&mut self, target: Target<'_>) -> Result<Attached, AttachError> {
        // A pinned XDP link is adopted first, whatever its mode: another way would leave a moment without a program.
        if let Some((way, program)) = ways::hook(Way::Native).adopt(self, target)? {
            let obstacles = if way == Way::Generic { vec![Obstacle::Adopted] } else { Vec::new() };
            return self.attached(target, Attached { way, program, obstacles });
        }
        // The kernel is asked again, because somebody else's program may be in place of a stale link of ours.
        let rival = ways::xdp_program_on(target.interface.index)?;
        let mut obstacles = Vec::new();
        for way in Way::ALL.iter().copied() {
            match (way, rival, target.layer) {
                (Way::Native, Some(rival), _) => obstacles.push(Obstacle::Rival(Rival::Xdp(rival))),
                // Drivers that run XDP at all on such interfaces make up an Ethernet header for the program.
                (Way::Native, None, Layer::Network) => obstacles.push(Obstacle::NoEthernetHeader),
                (Way::Generic, Some(_), _) => {}
                _ => match self.attach_by(way, target) {
                    Ok(program) => return self.attached(target, Attached { way, program, obstacles }),
                    Err(source) => obstacles.push(Obstacle::Refused { way: ways::hook(way).name(), source }),
                },
            }
        }
        Err(AttachError::Refused(obstacles))
    }

    fn attach_by(&mut self, way: Way, target: Target<'_>) -> Result<u32, AttachError> {
        let hook = ways::hook(way);
        match hook.adopt(self, target)? {
            Some((_, program)) => Ok(program),
            None => hook.attach(self, target),
        }
    }

    /// Detaches the program in all other ways, so that packets meet the program once.
    fn attached(&mut self, target: Target<'_>, attached: Attached) -> Result<Attached, AttachError> {
        let others: &[Way] = match attached.way {
            Way::Native | Way::Generic => &[Way::Tcx, Way::Clsact],
            Way::Tcx => &[Way::Clsact],
            Way::Clsact => &[],
        };
        for way in others {
            ways::hook(*way).detach(target.interface, self.pins)?;
        }
        Ok(attached)
    }

    /// Moves the program, which is attached in this way, before the program that overtook it.
    pub(super) fn overtake(&mut self, way: Way, target: Target<'_>) -> Result<Attached, AttachError> {
        ways::hook(way).prepare_overtaking(self, target)?;
        self.attach_best(target)
    }
}

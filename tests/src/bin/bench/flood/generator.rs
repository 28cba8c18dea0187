//! Where the frames come from: an XDP program that gives each frame another source, run on live frames.
//!
//! Nothing computes a checksum per packet: where a word `x` goes into the source address, `!x` goes into another word
//! of the same sum, and in ones' complement arithmetic `x + !x` is constant (RFC 1624).

use anyhow::{Context, Result};

use super::traffic::{SOURCES, Traffic};
use crate::bpf::{Counter, Program};
use crate::instructions::{
    EXIT, Instruction, Register, action, add, address_of_element, copy, invert, load_u32, load_u64, set,
    skip_unless_above, store_u16, store_u64,
};

/// Offsets in a frame of the 16-bit words that differ from packet to packet.
pub(crate) struct Variable {
    /// Of the source address's last word.
    pub(crate) source: usize,
    /// Of the words that get its inverse.
    pub(crate) inverses: Vec<usize>,
}

/// Makes frames of one kind of traffic.
pub(crate) struct Generator {
    sending: Program,
    idle: Program,
    _next_source: Counter,
}

impl Generator {
    /// Loads its programs.
    ///
    /// # Errors
    /// The kernel refuses them.
    pub(crate) fn load(traffic: Traffic) -> Result<Self> {
        let next_source = Counter::new()?;
        let load = |result| Program::load(&program(&traffic.variable(), &next_source, result)?);
        let (sending, idle) = (load(action::TX)?, load(action::DROP)?);
        Ok(Self { sending, idle, _next_source: next_source })
    }

    /// Sends one frame from each source by `interface`, an index in the current network namespace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn send(&self, frame: &[u8], interface: u32) -> Result<()> {
        self.sending.run_live(frame, interface, SOURCES)
    }

    /// Makes the same frames, which then go nowhere: what the generator itself costs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn discard(&self, frame: &[u8], interface: u32) -> Result<()> {
        self.idle.run_live(frame, interface, SOURCES)
    }
}

fn program(variable: &Variable, next_source: &Counter, result: i32) -> Result<Vec<Instruction>> {
    const FRAME: Register = Register::R2;
    const NUMBER: Register = Register::R5;
    let offset = |offset: usize| i16::try_from(offset).context("the frame is too long for a BPF instruction");
    let last = variable.inverses.iter().fold(variable.source, |last, inverse| last.max(*inverse));
    let mut program = vec![
        load_u32(FRAME, Register::R1, 0),
        load_u32(Register::R3, Register::R1, 4),
        copy(Register::R4, FRAME),
        add(Register::R4, i32::from(offset(last)?) + 2),
        skip_unless_above(Register::R4, Register::R3, 2),
        set(Register::R0, action::ABORTED),
        EXIT,
    ];
    program.extend(address_of_element(Register::R1, next_source.descriptor()));
    program.extend([
        load_u64(NUMBER, Register::R1, 0),
        add(NUMBER, 1),
        store_u64(Register::R1, 0, NUMBER),
        store_u16(FRAME, offset(variable.source)?, NUMBER),
        invert(NUMBER),
    ]);
    for inverse in &variable.inverses {
        program.push(store_u16(FRAME, offset(*inverse)?, NUMBER));
    }
    program.extend([set(Register::R0, result), EXIT]);
    Ok(program)
}

//! The BPF instructions that the benchmark's own programs need (RFC 9669).

use std::os::fd::RawFd;

/// The answers of an XDP program, see `enum xdp_action`.
pub(crate) mod action {
    /// The program failed.
    pub(crate) const ABORTED: i32 = 0;
    /// The packet is dropped.
    pub(crate) const DROP: i32 = 1;
    /// The packet goes on to the network stack.
    pub(crate) const PASS: i32 = 2;
    /// The packet leaves by the device on which it arrived.
    pub(crate) const TX: i32 = 3;
}

/// The reference program: two instructions that drop every packet.
pub(crate) const BARE_DROP: [Instruction; 2] = [set(Register::R0, action::DROP), EXIT];

/// The kernel's `struct bpf_insn` on a little-endian machine, for which the agent's program is built too.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Instruction {
    opcode: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// The registers. R0 holds results, R1 the argument; calls preserve R6.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Register {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
    R6 = 6,
}

const fn instruction(opcode: u8, to: Register, from: Register, offset: i16, immediate: i32) -> Instruction {
    Instruction { opcode, registers: (from as u8) << 4 | to as u8, offset, immediate }
}

/// Ends the program.
pub(crate) const EXIT: Instruction = instruction(0x95, Register::R0, Register::R0, 0, 0);

/// `R0` = nanoseconds of CLOCK_MONOTONIC; see `enum bpf_func_id`.
pub(crate) const CALL_KTIME_GET_NS: Instruction = instruction(0x85, Register::R0, Register::R0, 0, 5);

/// `to = value`
pub(crate) const fn set(to: Register, value: i32) -> Instruction {
    instruction(0xb7, to, Register::R0, 0, value)
}

/// `to = from`
pub(crate) const fn copy(to: Register, from: Register) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

/// `to += value`
pub(crate) const fn add(to: Register, value: i32) -> Instruction {
    instruction(0x07, to, Register::R0, 0, value)
}

/// `to = !to`
pub(crate) const fn invert(to: Register) -> Instruction {
    instruction(0xa7, to, Register::R0, 0, -1)
}

/// `to = *(u32 *)(at + offset)`
pub(crate) const fn load_u32(to: Register, at: Register, offset: i16) -> Instruction {
    instruction(0x61, to, at, offset, 0)
}

/// `to = *(u64 *)(at + offset)`
pub(crate) const fn load_u64(to: Register, at: Register, offset: i16) -> Instruction {
    instruction(0x79, to, at, offset, 0)
}

/// `*(u16 *)(at + offset) = from`, its lower bits
pub(crate) const fn store_u16(at: Register, offset: i16, from: Register) -> Instruction {
    instruction(0x6b, at, from, offset, 0)
}

/// `*(u64 *)(at + offset) = from`
pub(crate) const fn store_u64(at: Register, offset: i16, from: Register) -> Instruction {
    instruction(0x7b, at, from, offset, 0)
}

/// Skips `count` instructions if `left` is not above `right`.
pub(crate) const fn skip_unless_above(left: Register, right: Register, count: i16) -> Instruction {
    instruction(0xbd, left, right, count, 0)
}

/// `to` = the address of the first element of the array that the descriptor names
pub(crate) const fn address_of_state(to: Register, array: RawFd) -> [Instruction; 2] {
    // BPF_PSEUDO_MAP_VALUE takes the place of the source register.
    [instruction(0x18, to, Register::R2, 0, array), instruction(0, Register::R0, Register::R0, 0, 0)]
}

//! The yardstick: an XDP program of two instructions, `return XDP_DROP`. The only unsafe code of the benchmark.

#![expect(unsafe_code, reason = "aya loads programs from object files only, so this calls bpf(2) itself")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, ensure};

/// See `enum xdp_action`.
pub(crate) const XDP_DROP: u32 = 1;

// See `enum bpf_cmd` and `enum bpf_prog_type`.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// `r0 = XDP_DROP; exit`. Eight bytes each: opcode, registers, 16 bits of offset, 32 bits of immediate in the host's order.
const INSTRUCTIONS: [[u8; 8]; 2] = {
    let [a, b, c, d] = XDP_DROP.to_ne_bytes();
    [[0xb7, 0, 0, 0, a, b, c, d], [0x95, 0, 0, 0, 0, 0, 0, 0]]
};
const LICENSE: &CStr = c"Dual MIT/GPL";

/// The part of `union bpf_attr` for `BPF_PROG_LOAD` that is needed.
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The part of `union bpf_attr` for `BPF_PROG_TEST_RUN` that is needed.
#[repr(C)]
struct RunAttributes {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// The loaded program.
pub(crate) struct BareDrop {
    program: OwnedFd,
}

impl BareDrop {
    /// Loads it.
    ///
    /// # Errors
    /// The kernel refuses it: without root, or where BPF is locked down.
    pub(crate) fn load() -> Result<Self> {
        let mut attributes = LoadAttributes {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: INSTRUCTIONS.len() as u32,
            insns: INSTRUCTIONS.as_ptr().addr() as u64,
            license: LICENSE.as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
        };
        // SAFETY: the attributes are those of the command, and the instructions and the licence that they point to are
        // static, of the stated length and ended by a zero byte.
        let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }
            .context("the kernel refuses an XDP program of two instructions: run as root")?;
        // SAFETY: `fd` was just returned by the kernel and has no other owner.
        Ok(Self { program: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Runs it on a frame.
    ///
    /// # Errors
    /// The kernel refuses the frame, or the program returns something else.
    pub(crate) fn run(&self, frame: &[u8], repeat: u32) -> Result<()> {
        let mut attributes = RunAttributes {
            prog_fd: self.program.as_raw_fd().cast_unsigned(),
            retval: 0,
            data_size_in: u32::try_from(frame.len()).context("the frame is too long")?,
            data_size_out: 0,
            data_in: frame.as_ptr().addr() as u64,
            data_out: 0,
            repeat,
            duration: 0,
        };
        // SAFETY: the attributes are those of the command; `data_in` points to the frame of `data_size_in` bytes, which
        // the kernel only reads during the call, and without `data_out` it writes to the attributes alone.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) }.context("the kernel refuses to run the bare program")?;
        ensure!(attributes.retval == XDP_DROP, "the bare program returned {}", attributes.retval);
        Ok(())
    }
}

/// Calls bpf(2).
///
/// # Safety
/// `attributes` must be what `command` takes, and the addresses in it valid for what the command does with them.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: the caller vouches for the attributes; their size is their type's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

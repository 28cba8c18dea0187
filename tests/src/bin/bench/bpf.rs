//! BPF programs made of their instructions: loading, running and attaching. The only unsafe code of the benchmark.

#![expect(unsafe_code, reason = "aya loads programs from object files only, so this calls bpf(2) itself")]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};

use crate::instructions::Instruction;

// See `enum bpf_cmd`, `enum bpf_map_type`, `enum bpf_prog_type` and `enum bpf_attach_type`.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

const LICENSE: &CStr = c"Dual MIT/GPL";

/// The part of `union bpf_attr` that `BPF_MAP_CREATE` needs here.
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
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

/// The part of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct RunAttributes {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttributes {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The kernel's `struct xdp_md`.
#[repr(C)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// The state that a program keeps between packets: an array map of one element, two numbers of 64 bits.
pub(crate) struct State(OwnedFd);

impl State {
    /// Offset of the next packet's source.
    pub(crate) const SOURCE: i16 = 0;
    /// Offset of the time from which the next packet may be sent.
    pub(crate) const TURN: i16 = 8;
    const SIZE: u32 = 16;

    /// Creates a state of zeros.
    ///
    /// # Errors
    /// The kernel refuses the map: without root, or if BPF is locked down.
    pub(crate) fn new() -> Result<Self> {
        let mut attributes = MapAttributes {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: size_of::<u32>() as u32,
            value_size: Self::SIZE,
            max_entries: 1,
        };
        // SAFETY: the attributes are those of the command and hold no address.
        let fd = unsafe { descriptor(BPF_MAP_CREATE, &mut attributes) };
        Ok(Self(fd.context("the kernel refuses a BPF array of one element: run as root")?))
    }

    /// The descriptor by which an instruction names the map, valid while the map lives.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A loaded XDP program.
pub(crate) struct Program(OwnedFd);

/// An attached program; dropping it detaches the program.
pub(crate) struct Link {
    _link: OwnedFd,
}

impl Program {
    /// Loads a program.
    ///
    /// # Errors
    /// The kernel refuses the program: without root, or if BPF is locked down.
    pub(crate) fn load(instructions: &[Instruction]) -> Result<Self> {
        let mut attributes = LoadAttributes {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: instructions.len() as u32,
            insns: instructions.as_ptr().addr() as u64,
            license: LICENSE.as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
        };
        // SAFETY: the attributes are those of the command; the instructions, of the layout of `struct bpf_insn` and the
        // stated number, and the licence, ended by a zero byte, outlive the call, which only reads them.
        let fd = unsafe { descriptor(BPF_PROG_LOAD, &mut attributes) };
        let number = instructions.len();
        fd.map(Self).with_context(|| format!("the kernel refuses an XDP program of {number} instructions: run as root"))
    }

    /// Runs the program on copies of a frame that go nowhere, and returns the program's answer.
    ///
    /// # Errors
    /// The kernel refuses the frame.
    pub(crate) fn run(&self, frame: &[u8], repeat: u32) -> Result<u32> {
        let mut attributes = self.attributes(frame, repeat)?;
        // SAFETY: the attributes are those of the command; `data_in` points to the frame of `data_size_in` bytes, which
        // the kernel only reads during the call, and without `data_out` it writes to the attributes alone.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) }.context("the kernel refuses to run the program")?;
        Ok(attributes.retval)
    }

    /// Runs the program on copies of a frame as if they had arrived on `interface`, an index in the current network
    /// namespace. With `XDP_TX` the copies leave by that interface.
    ///
    /// # Errors
    /// The kernel refuses the frame or the interface, or is older than 5.18.
    pub(crate) fn run_live(&self, frame: &[u8], interface: u32, packets: u32) -> Result<()> {
        let mut attributes = self.attributes(frame, packets)?;
        let context = XdpContext {
            data: 0,
            data_end: attributes.data_size_in,
            data_meta: 0,
            ingress_ifindex: interface,
            rx_queue_index: 0,
            egress_ifindex: 0,
        };
        attributes.ctx_in = (&raw const context).addr() as u64;
        attributes.ctx_size_in = size_of_val(&context) as u32;
        attributes.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
        // SAFETY: as in `run`; `ctx_in` points to a `struct xdp_md` of `ctx_size_in` bytes, which outlives the call and
        // is only read.
        let done = unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) };
        done.map(drop).context("the kernel refuses to send live frames, which takes Linux 5.18")
    }

    fn attributes(&self, frame: &[u8], repeat: u32) -> Result<RunAttributes> {
        Ok(RunAttributes {
            prog_fd: self.0.as_raw_fd().cast_unsigned(),
            data_size_in: u32::try_from(frame.len()).context("the frame is too long")?,
            data_in: frame.as_ptr().addr() as u64,
            repeat,
            ..RunAttributes::default()
        })
    }

    /// Attaches the program in native mode to `interface`, an index in the current network namespace.
    ///
    /// # Errors
    /// The device no longer exists, has no native XDP, or has a program already.
    pub(crate) fn attach(&self, interface: u32) -> Result<Link> {
        let mut attributes = LinkAttributes {
            prog_fd: self.0.as_raw_fd().cast_unsigned(),
            target_ifindex: interface,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        // SAFETY: the attributes are those of the command and hold no address.
        let link = unsafe { descriptor(BPF_LINK_CREATE, &mut attributes) };
        link.map(|link| Link { _link: link }).with_context(|| format!("cannot attach XDP to interface {interface}"))
    }
}

/// Calls bpf(2) with a command that returns a new file descriptor.
///
/// # Safety
/// As [`bpf`].
unsafe fn descriptor<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the attributes.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: `fd` was just returned by the kernel and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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

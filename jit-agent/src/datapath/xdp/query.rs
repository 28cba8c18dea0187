//! The ids of the TCX programs on an interface. aya asks for more than ids, which takes CAP_SYS_ADMIN for programs of
//! others.

#![expect(unsafe_code, reason = "no crate wraps this form of the system call")]

use std::{io, mem};

use aya_obj::generated::{bpf_attach_type::BPF_TCX_INGRESS, bpf_attr, bpf_cmd::BPF_PROG_QUERY};

/// The largest number of programs on one interface that are read. Our program should be the first, so further programs
/// do not matter.
const MOST_PROGRAMS: usize = 64;

/// The ids of the programs in the order in which they see incoming packets.
pub(super) fn tcx_programs(index: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    // SAFETY: all fields are integers, of which zeroes are valid values.
    let mut attributes: bpf_attr = unsafe { mem::zeroed() };
    attributes.query.__bindgen_anon_1.target_ifindex = index;
    attributes.query.attach_type = BPF_TCX_INGRESS as u32;
    attributes.query.prog_ids = ids.as_mut_ptr() as u64;
    attributes.query.__bindgen_anon_2.prog_cnt = MOST_PROGRAMS as u32;
    // SAFETY: the attributes are alive and have the size that is given; the kernel writes up to `prog_cnt` ids and the
    // fields that answer.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY as libc::c_int, &raw mut attributes, size_of::<bpf_attr>())
    };
    // If there are more programs, the kernel fills the room that there is.
    if result != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSPC) {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel wrote the number, or it is the one from above.
    let count = unsafe { attributes.query.__bindgen_anon_2.prog_cnt } as usize;
    Ok(ids.into_iter().take(count).collect())
}

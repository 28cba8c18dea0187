//! An initramfs of one file: a cpio archive in the "newc" format, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` has it. The kernel takes it uncompressed.

/// An archive whose `/init` is this program. `/dev/console` comes with the kernel's own archive.
pub(crate) fn with_init(program: &[u8]) -> Vec<u8> {
    const EXECUTABLE_FILE: u32 = 0o100_755;
    let mut archive = Vec::with_capacity(program.len() + 512);
    append(&mut archive, "init", EXECUTABLE_FILE, program);
    append(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

fn append(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let links = 1;
    let name_size = name.len() + 1;
    // Inode, mode, uid, gid, links, time, size, device (2), special device (2), size of the name, checksum.
    let fields = [0, mode as usize, 0, 0, links, 0, content.len(), 0, 0, 0, 0, name_size, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_a_110_byte_header_and_are_padded_to_four_bytes() {
        let archive = with_init(b"hello");
        assert_eq!(&archive[..6], b"070701");
        assert_eq!(&archive[54..62], b"00000005");
        assert_eq!(&archive[110..115], b"init\0");
        assert_eq!(&archive[116..121], b"hello");
        assert_eq!(&archive[124..130], b"070701");
        assert_eq!(archive.len() % 4, 0);
    }
}

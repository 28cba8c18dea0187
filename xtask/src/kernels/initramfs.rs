//! An initramfs: a cpio archive in the "newc" format, as described in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`. The kernel takes the archive uncompressed.

use std::collections::BTreeSet;

const EXECUTABLE_FILE: u32 = 0o100_755;
const DIRECTORY: u32 = 0o040_755;

/// An archive that is being written. `/dev/console` comes with the kernel's own archive.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds an executable file by its path without the leading slash, and the directories above it.
    pub(crate) fn add_file(&mut self, path: &str, content: &[u8]) {
        for (end, _) in path.match_indices('/') {
            let directory = &path[..end];
            if self.directories.insert(directory.to_owned()) {
                self.append(directory, DIRECTORY, &[]);
            }
        }
        self.append(path, EXECUTABLE_FILE, content);
    }

    /// The archive's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.append("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn append(&mut self, name: &str, mode: u32, content: &[u8]) {
        let links = 1;
        let name_size = name.len() + 1;
        // Inode, mode, uid, gid, links, time, size, device (2), special device (2), size of the name, checksum.
        let fields = [0, mode as usize, 0, 0, links, 0, content.len(), 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_a_110_byte_header_and_are_padded_to_four_bytes() {
        let mut archive = Archive::default();
        archive.add_file("init", b"hello");
        let archive = archive.finish();
        assert_eq!(&archive[..6], b"070701");
        assert_eq!(&archive[54..62], b"00000005");
        assert_eq!(&archive[110..115], b"init\0");
        assert_eq!(&archive[116..121], b"hello");
        assert_eq!(&archive[124..130], b"070701");
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn each_directory_stands_once_before_what_is_in_it() {
        let mut archive = Archive::default();
        archive.add_file("lib/a/one", b"");
        archive.add_file("lib/a/two", b"");
        let text = String::from_utf8(archive.finish()).unwrap();
        let names: Vec<_> = text.split("070701").skip(1).map(|entry| entry[104..].trim_matches('\0')).collect();
        assert_eq!(names, ["lib", "lib/a", "lib/a/one", "lib/a/two", "TRAILER!!!"]);
    }
}

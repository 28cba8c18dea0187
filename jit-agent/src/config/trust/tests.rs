use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The doubt about a path, as text.
fn doubted(path: &Path) -> Option<String> {
    find(path, own()).unwrap().doubt().map(ToString::to_string)
}

#[test]
fn whoever_may_write_to_a_file_or_above_it_is_told_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (above, file) = (directory.path().join("above"), directory.path().join("above/file"));
    fs::create_dir(&above).unwrap();
    fs::write(&file, "text").unwrap();
    assert_eq!(doubted(&file), None);
    for (path, mode) in [(&file, 0o620), (&file, 0o602), (&above, 0o770), (&above, 0o707)] {
        let before = fs::metadata(path).unwrap().permissions();
        set_mode(path, mode);
        let text = format!("{0} has mode {mode:04o}, so others could change it: run `chmod go-w {0}`", path.display());
        assert_eq!(doubted(&file), Some(text));
        fs::set_permissions(path, before).unwrap();
    }
    // As in /tmp, nobody can replace what belongs to somebody else.
    set_mode(&above, 0o1777);
    assert_eq!(doubted(&file), None);
    assert_eq!(doubted(&above.join("not there yet")), None);
}

#[test]
fn a_link_is_as_good_as_what_it_leads_through() {
    let directory = tempfile::tempdir().unwrap();
    let (open, link) = (directory.path().join("open"), directory.path().join("link"));
    fs::create_dir(&open).unwrap();
    fs::write(open.join("file"), "text").unwrap();
    for target in [PathBuf::from("open/file"), open.join("file"), PathBuf::from("open/../open/./file")] {
        symlink(&target, &link).unwrap();
        assert_eq!(doubted(&link), None, "{target:?}");
        assert_eq!(read(&link, own()).unwrap().0, b"text");
        set_mode(&open, 0o777);
        assert!(doubted(&link).is_some_and(|text| text.contains("open has mode 0777")), "{target:?}");
        set_mode(&open, 0o755);
        fs::remove_file(&link).unwrap();
    }
    symlink("link", &link).unwrap();
    assert_eq!(find(&link, own()).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    assert_eq!(find(Path::new("/"), own()).unwrap().doubt(), None);
}

#[test]
fn only_regular_files_are_read_and_a_pipe_blocks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, big) = (directory.path().join("pipe"), directory.path().join("big"));
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    File::create(&big).unwrap().set_len(1 << 40).unwrap();
    for (path, words) in [
        (pipe.as_path(), "it is no file, but a pipe"),
        (directory.path(), "it is no file, but a directory"),
        (Path::new("/dev/zero"), "it is no file, but a pipe, a socket or a device"),
        (&big, "it has 1099511627776 bytes, more than"),
    ] {
        let error = read(path, own()).unwrap_err().to_string();
        assert!(error.contains(words), "{path:?}: {error}");
    }
}

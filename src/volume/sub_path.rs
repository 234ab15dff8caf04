//! `subPath`: a part of a volume, found while containers may be changing the volume.
//!
//! The kernel resolves every path beneath the volume's own descriptor, so that no link leads out of
//! it, and what was opened is what gets mounted: no path is looked at twice (CVE-2017-1002101,
//! CVE-2021-25741).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::process::umask;

/// How often a resolution that a rename disturbed is begun again.
const ATTEMPTS: u32 = 256;

/// The bits of a mode that a new directory takes over from its volume.
const PERMISSIONS: u32 = 0o777;

/// Opens `path` in a volume. Directories that are missing are made with the mode of the volume's
/// root, as the kubelet makes them (`SafeMakeDir`); a file is there or it is not.
///
/// The path consists of names that are neither empty nor `.` nor `..`.
///
/// # Errors
/// As `openat2(2)` and `mkdirat(2)`: `EXDEV` for a link out of the volume.
pub(super) fn open(volume: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    match beneath(volume, path, OFlags::empty()) {
        Err(Errno::NOENT) => {}
        done => return Ok(done?),
    }
    make_directories(volume, path)?;
    Ok(beneath(volume, path, OFlags::empty())?)
}

fn beneath(volume: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match openat2(volume, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

fn make_directories(volume: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let mode = Mode::from_raw_mode(fstat(volume)?.st_mode & PERMISSIONS);
    // A mode that is set afterwards could be another directory's by then.
    let before = umask(Mode::empty());
    let made = make_with(volume, path, mode);
    umask(before);
    made
}

fn make_with(volume: BorrowedFd<'_>, path: &str, mode: Mode) -> io::Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    let mut parent = beneath(volume, ".", OFlags::DIRECTORY)?;
    let mut begin = 0;
    for end in ends.chain([path.len()]) {
        let until = path.get(..end).unwrap_or(path);
        let name = path.get(begin..end).unwrap_or(path);
        // Neither does mkdirat follow a link that has the name.
        match mkdirat(&parent, name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        parent = beneath(volume, until, OFlags::DIRECTORY)?;
        begin = end + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    fn volume() -> (tempfile::TempDir, File) {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("secret")).unwrap();
        fs::create_dir(outer.path().join("volume")).unwrap();
        let opened = File::open(outer.path().join("volume")).unwrap();
        (outer, opened)
    }

    fn errno(result: io::Result<OwnedFd>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn links_stay_in_the_volume_or_lead_nowhere() {
        let (outer, opened) = volume();
        let root = outer.path().join("volume");
        fs::create_dir(root.join("dir")).unwrap();
        let (flags, mode) = (OFlags::CREATE | OFlags::CLOEXEC, Mode::RUSR);
        rustix::fs::openat(&opened, "dir/file", flags, mode).unwrap();
        symlink("dir", root.join("inner")).unwrap();
        symlink("../secret", root.join("up")).unwrap();
        symlink("..", root.join("above")).unwrap();
        symlink("/", root.join("host")).unwrap();
        symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("../made", root.join("dangling-up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("dir", None),
            ("dir/file", None),
            ("inner", None),
            ("inner/file", None),
            ("up", Some(Errno::XDEV)),
            ("above", Some(Errno::XDEV)),
            ("above/secret", Some(Errno::XDEV)),
            ("above/made", Some(Errno::XDEV)),
            ("host", Some(Errno::XDEV)),
            ("host/etc", Some(Errno::XDEV)),
            ("absolute", Some(Errno::XDEV)),
            ("dangling", Some(Errno::NOENT)),
            ("dangling-up", Some(Errno::XDEV)),
            ("dangling-up/x", Some(Errno::XDEV)),
            ("loop", Some(Errno::LOOP)),
            ("dir/file/x", Some(Errno::NOTDIR)),
        ] {
            let found = errno(open(opened.as_fd(), path));
            assert_eq!(found, expected.map(Errno::raw_os_error), "{path}");
        }
        let names = fs::read_dir(outer.path()).unwrap().count();
        assert_eq!(names, 2, "nothing was made outside");
    }
}

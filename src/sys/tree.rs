//! Removing, measuring and walking trees that containers have written: by descriptor, never following
//! a link, never crossing into another mount, however deep they are.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// One directory on the way down.
struct Level {
    directory: OwnedFd,
    entries: Dir,
    /// Its own name in the level above.
    name: CString,
}

/// Removes `name` in the directory `parent`; a name that is not there is removed already.
///
/// # Errors
/// As `openat2(2)` and `unlinkat(2)`: EACCES for what only the pod's ids may remove, EXDEV for a
/// mount inside of the tree, which is left as it is.
pub fn remove_tree(parent: &Path, name: &str) -> io::Result<()> {
    let parent = rustix::fs::openat(
        CWD,
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    remove_beneath(parent, name)
}

/// As [`remove_tree`], with the parent's descriptor.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_beneath(parent: impl AsFd, name: &str) -> io::Result<()> {
    let parent = parent.as_fd();
    let name = CString::new(name)?;
    match rustix::fs::unlinkat(parent, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut levels = vec![open_level(parent, name)?];
    while let Some(level) = levels.last_mut() {
        match level.entries.next() {
            Some(Err(errno)) => return Err(errno.into()),
            Some(Ok(entry)) => {
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                let name = name.to_owned();
                if entry.file_type() != FileType::Directory {
                    match rustix::fs::unlinkat(&level.directory, &name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => continue,
                        Err(Errno::ISDIR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                let below = open_level(level.directory.as_fd(), name)?;
                levels.push(below);
            }
            None => {
                let Some(done) = levels.pop() else { break };
                let above = levels
                    .last()
                    .map_or(parent, |level| level.directory.as_fd());
                match rustix::fs::unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
    }
    Ok(())
}

fn open_level(parent: impl AsFd, name: CString) -> io::Result<Level> {
    let open = || {
        rustix::fs::openat2(
            parent.as_fd(),
            &name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS,
        )
    };
    let directory = match open() {
        // Overlay's work directory has mode 0, and a container may have locked its own.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(
                parent.as_fd(),
                &name,
                Mode::from_raw_mode(0o700),
                AtFlags::empty(),
            )?;
            open()?
        }
        opened => opened?,
    };
    // A directory that may not be searched or written by its owner cannot be emptied either.
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_mode & 0o700 != 0o700 {
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o700)).ok();
    }
    let entries = Dir::read_from(&directory)?;
    Ok(Level {
        directory,
        entries,
        name,
    })
}

/// How much of a tree is looked at. What lies beyond counts for nothing: a container decides how much
/// there is to look at, and not how long that takes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Names in all directories together: several seconds of looking.
    entries: u64,
    /// Directories below one another, each of them a descriptor.
    levels: usize,
    /// Files with several names, each of them remembered.
    linked: usize,
}

const BOUNDS: Bounds = Bounds {
    entries: 10_000_000,
    levels: 512,
    linked: 1_000_000,
};

/// Bytes of the disk that a directory and all below it take up, or as many as were counted when they
/// were more than `enough`. What cannot be read counts for nothing, and a file with several names
/// once.
///
/// # Errors
/// As `openat2(2)` for the directory itself.
pub fn disk_usage(directory: &Path, enough: u64) -> io::Result<u64> {
    measure(directory, enough, BOUNDS)
}

fn measure(directory: &Path, enough: u64, bounds: Bounds) -> io::Result<u64> {
    /// `st_blocks` are of this size whatever the file system's are (`stat(2)`).
    const BLOCK: u64 = 512;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::openat2(
        CWD,
        directory,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    let mut levels = vec![Dir::new(top)?];
    let mut counted = HashSet::new();
    let mut used: u64 = 0;
    let mut entries = bounds.entries;
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else {
            break;
        };
        let Some(Ok(entry)) = level.read() else {
            levels.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entries == 0 || used > enough {
            break;
        }
        entries = entries.saturating_sub(1);
        let directory = level.fd()?;
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_new = is_directory
            || stat.st_nlink == 1
            || (counted.len() < bounds.linked && counted.insert((stat.st_dev, stat.st_ino)));
        if is_new {
            let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
            used = used.saturating_add(blocks.saturating_mul(BLOCK));
        }
        if !is_directory || depth == bounds.levels {
            continue;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let below =
            rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve).and_then(Dir::new);
        if let Ok(below) = below {
            levels.push(below);
        }
    }
    Ok(used)
}

/// Calls `act` with everything below a directory, open for its path only: what a directory holds
/// before the directory, a symbolic link as itself. What vanishes meanwhile is passed by.
///
/// # Errors
/// As `openat2(2)`, and the first of `act`.
pub fn visit(
    top: impl AsFd,
    act: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let listed = |at: BorrowedFd<'_>, name: &CStr| -> rustix::io::Result<(OwnedFd, Dir)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat2(at, name, flags, Mode::empty(), resolve)?;
        let entries = Dir::read_from(&directory)?;
        Ok((directory, entries))
    };
    let mut levels = vec![listed(top.as_fd(), c".")?];
    while let Some((directory, entries)) = levels.last_mut() {
        let Some(entry) = entries.next() else {
            let Some((done, _)) = levels.pop() else { break };
            if !levels.is_empty() {
                act(done.as_fd())?;
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat2(&*directory, name, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            // Another mount is not this volume's.
            Err(Errno::NOENT | Errno::XDEV) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            levels.push(listed(file.as_fd(), c".")?);
        } else {
            act(file.as_fd())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn usage_counts_blocks_below_once_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let big = dir.path().join("big");
        let write = |path: &Path| {
            let file = fs::File::create_new(path).unwrap();
            rustix::io::write(&file, &vec![1; 100_000]).unwrap();
            file.sync_all().unwrap();
        };
        write(&big);
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        write(&tree.join("a/b/file"));
        fs::hard_link(tree.join("a/b/file"), tree.join("again")).unwrap();
        std::os::unix::fs::symlink(&big, tree.join("link")).unwrap();
        let used = disk_usage(&tree, u64::MAX).unwrap();
        assert!((100_000..200_000).contains(&used), "{used}");
    }

    #[test]
    fn usage_is_counted_up_to_what_is_enough_and_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs::File::create_new(path).unwrap();
            rustix::io::write(&file, &vec![1; 100_000]).unwrap();
            file.sync_all().unwrap();
        };
        for file in ["a", "b", "c", "d/e", "d/f/g"] {
            write(file);
        }
        fs::hard_link(dir.path().join("a"), dir.path().join("again")).unwrap();
        let used = |enough: u64, bounds: Bounds| {
            // How many of the files were counted.
            measure(dir.path(), enough, bounds).unwrap() / 100_000
        };
        assert_eq!(used(u64::MAX, BOUNDS), 5);
        assert_eq!(used(150_000, BOUNDS), 2);
        let levels = Bounds {
            levels: 2,
            ..BOUNDS
        };
        assert_eq!(used(u64::MAX, levels), 4);
        let linked = Bounds {
            linked: 0,
            ..BOUNDS
        };
        assert_eq!(used(u64::MAX, linked), 4);
        let entries = Bounds {
            entries: 0,
            ..BOUNDS
        };
        assert_eq!(used(u64::MAX, entries), 0);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::File::create_new(canary.join("secret")).unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        std::os::unix::fs::symlink(&canary, tree.join("a/link")).unwrap();
        std::os::unix::fs::symlink("../../canary", tree.join("a/b/up")).unwrap();
        remove_tree(dir.path(), "tree").unwrap();
        assert!(!tree.exists());
        assert!(canary.join("secret").exists());
    }

    #[test]
    fn a_link_in_the_place_of_the_tree_is_all_that_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("canary")).unwrap();
        std::os::unix::fs::symlink("canary", dir.path().join("tree")).unwrap();
        remove_tree(dir.path(), "tree").unwrap();
        assert!(dir.path().join("canary").exists());
        assert!(!dir.path().join("tree").is_symlink());
    }

    #[test]
    fn a_tree_deeper_than_a_path_can_be_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).unwrap();
            at = rustix::fs::openat(&at, "d", OFlags::PATH, Mode::empty()).unwrap();
        }
        remove_tree(dir.path(), "d").unwrap();
        assert!(!dir.path().join("d").exists());
    }

    #[test]
    fn locked_directories_and_odd_names_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("work/a\nb")).unwrap();
        rustix::fs::chmod(tree.join("work"), Mode::empty()).unwrap();
        remove_tree(dir.path(), "tree").unwrap();
        remove_tree(dir.path(), "tree").unwrap();
    }
}

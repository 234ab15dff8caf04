//! `fsGroup`: volumes belong to a group, and its members may read and write them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat};

use crate::plan::FsGroup;
use crate::sys::tree::visit;

/// What the members of the group may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// The bits that a file has at least (`rwMask`, `roMask` and `execMask` of the kubelet's
/// `volume_linux.go`); what is made in a directory is the group's as well.
fn bits(stat: &Stat, access: Access) -> u32 {
    let read_write = match access {
        Access::ReadOnly => 0o440,
        Access::ReadWrite => 0o660,
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        read_write | 0o2110
    } else {
        read_write
    }
}

/// Gives one file to the group; it may be open for its path only.
pub(super) fn give(file: BorrowedFd<'_>, gid: u32, access: Access) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    if stat.st_gid != gid {
        let flags = AtFlags::EMPTY_PATH;
        rustix::fs::chownat(file, c"", None, Some(Gid::from_raw(gid)), flags)?;
    }
    // A link has no mode of its own, and a change would be one of what it leads to.
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    let mode = stat.st_mode & 0o7777 | bits(&stat, access);
    // A change of the group may have taken the set-id bits away (`chown(2)`).
    if mode != stat.st_mode & 0o7777 || mode & 0o6000 != 0 {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// Gives a volume and all that is in it to the group.
///
/// # Errors
/// As `openat2(2)`, `chown(2)` and `chmod(2)`.
pub(super) fn give_tree(volume: BorrowedFd<'_>, group: FsGroup, access: Access) -> io::Result<()> {
    let stat = rustix::fs::fstat(volume)?;
    let wanted = bits(&stat, access);
    if group.only_on_root_mismatch && stat.st_gid == group.gid && stat.st_mode & wanted == wanted {
        return Ok(());
    }
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        visit(volume, &mut |file| give(file, group.gid, access))?;
    }
    // The root last: until then it says that there is something left to do.
    give(volume, group.gid, access)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn group(only_on_root_mismatch: bool) -> FsGroup {
        FsGroup {
            gid: rustix::process::getegid().as_raw(),
            only_on_root_mismatch,
        }
    }

    #[test]
    fn files_and_directories_get_the_bits_of_the_group_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        drop(fs::File::create_new(&outside).unwrap());
        fs::set_permissions(&outside, PermissionsExt::from_mode(0o600)).unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("a/b")).unwrap();
        let file = volume.join("a/b/file");
        drop(fs::File::create_new(&file).unwrap());
        fs::set_permissions(&file, PermissionsExt::from_mode(0o4701)).unwrap();
        symlink("../outside", volume.join("link")).unwrap();
        let root = fs::File::open(&volume).unwrap();
        give_tree(root.as_fd(), group(false), Access::ReadWrite).unwrap();
        assert_eq!(mode(&volume) & 0o2770, 0o2770);
        assert_eq!(mode(&volume.join("a/b")) & 0o2770, 0o2770);
        assert_eq!(mode(&file), 0o4761);
        assert_eq!(mode(&outside), 0o600);
        fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).unwrap();
        give_tree(root.as_fd(), group(false), Access::ReadOnly).unwrap();
        assert_eq!(mode(&file), 0o440);
    }

    #[test]
    fn a_root_that_is_right_is_the_end_of_it_when_the_policy_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        drop(fs::File::create_new(&file).unwrap());
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        give(root.as_fd(), group(true).gid, Access::ReadWrite).unwrap();
        give_tree(root.as_fd(), group(true), Access::ReadWrite).unwrap();
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        give_tree(root.as_fd(), group(true), Access::ReadWrite).unwrap();
        assert_eq!(mode(&file), 0o660);
    }
}

//! Whiteouts: what a layer hides of those below it (image-spec layer.md), as overlay has it.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::beneath::open_directory;
use super::{OpaqueAttribute, UnpackError, Unpacker, failed, invalid, shown};

/// Whether this is a whiteout of the layer: no other entry gets the number 0:0.
///
/// A directory that takes its place is opaque: all that was below is hidden. So is one in the
/// place of any other entry, since that has hidden what is below as well.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Unpacker<'_> {
    pub(super) fn whiteout(
        &mut self,
        names: &[Vec<u8>],
        hidden: &[u8],
        path: &[u8],
    ) -> Result<(), UnpackError> {
        if hidden == b".wh..opq" {
            let parent = self.parent(names)?;
            return self.make_opaque(&parent, path);
        }
        // aufs' own files mean nothing to anybody else.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return invalid(format!("`{}` hides no file", shown(path)));
        }
        let parent = self.parent(names)?;
        // A file of this layer with that name stays, whatever the order is: whiteouts hide what
        // is below. A directory then hides all that is below it.
        match rustix::fs::statat(&parent, hidden, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let directory = rustix::fs::openat(
                    &parent,
                    hidden,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .map_err(failed("opened", path))?;
                self.make_opaque(&directory, path)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => rustix::fs::mknodat(
                &parent,
                hidden,
                FileType::CharacterDevice,
                Mode::empty(),
                rustix::fs::makedev(0, 0),
            )
            .map_err(failed("hidden", path)),
            Err(errno) => Err(failed("hidden", path)(errno)),
        }
    }

    pub(super) fn make_opaque(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
    ) -> Result<(), UnpackError> {
        let name = match self.opaque {
            OpaqueAttribute::Trusted => "trusted.overlay.opaque",
            OpaqueAttribute::User => "user.overlay.opaque",
        };
        // O_PATH descriptors take no attributes.
        let directory = open_directory(directory, b".").map_err(failed("opened", path))?;
        rustix::fs::fsetxattr(&directory, name, b"y", XattrFlags::empty())
            .map_err(failed("made opaque", path))
    }
}

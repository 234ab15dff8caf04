//! Directories of the layer, opened so that no link and no `..` leads out of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::whiteout::is_whiteout;
use super::{UnpackError, Unpacker, failed, invalid, shown};
use crate::sys::tree::remove_beneath;

impl Unpacker<'_> {
    /// The directory in which an entry is made; missing ones are made on the way.
    pub(super) fn parent(&mut self, names: &[Vec<u8>]) -> Result<OwnedFd, UnpackError> {
        let path = names.join(&b'/');
        if let Some((known, fd)) = &self.parent
            && *known == path
        {
            return rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(failed("opened", &path));
        }
        let mut at = open_directory(self.target, b".").map_err(failed("opened", &path))?;
        if !path.is_empty() {
            at = match open_directory(self.target, &path) {
                Ok(found) => found,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(names)?,
                Err(Errno::LOOP | Errno::XDEV) => {
                    return invalid(format!("`{}` is not a directory", shown(&path)));
                }
                Err(errno) => return Err(failed("opened", &path)(errno)),
            };
        }
        let kept = rustix::io::fcntl_dupfd_cloexec(&at, 3).map_err(failed("opened", &path))?;
        self.parent = Some((path, kept));
        Ok(at)
    }

    fn make_parents(&mut self, names: &[Vec<u8>]) -> Result<OwnedFd, UnpackError> {
        let mut path: Vec<u8> = Vec::new();
        let mut at = open_directory(self.target, b".").map_err(failed("opened", b"/"))?;
        for name in names {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            at = match open_directory(self.target, &path) {
                Ok(found) => found,
                Err(Errno::NOENT) => self.make_parent(&at, name, &path)?,
                Err(Errno::NOTDIR) if is_whiteout_at(&at, name) => {
                    self.clear(&at, name)?;
                    let made = self.make_parent(&at, name, &path)?;
                    self.make_opaque(&made, &path)?;
                    made
                }
                Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    return invalid(format!("`{}` is not a directory", shown(&path)));
                }
                Err(errno) => return Err(failed("opened", &path)(errno)),
            };
        }
        Ok(at)
    }

    /// A directory that no entry of the layer has named so far.
    fn make_parent(
        &mut self,
        above: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<OwnedFd, UnpackError> {
        self.count_entry()?;
        match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            // A link that leads nowhere is in the way.
            Err(Errno::EXIST) => return invalid(format!("`{}` is not a directory", shown(path))),
            Err(errno) => return Err(failed("made", path)(errno)),
        }
        open_directory(self.target, path).map_err(failed("opened", path))
    }

    /// Makes room: what an earlier entry put there is replaced.
    pub(super) fn clear(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                let text = std::str::from_utf8(name);
                let Ok(text) = text else {
                    return invalid(format!("`{}` replaces a directory", shown(name)));
                };
                remove_beneath(parent, text).map_err(|error| {
                    UnpackError::Failed(format!("{} cannot be replaced: {error}", shown(name)))
                })?;
            }
            Err(errno) => return Err(failed("replaced", name)(errno)),
        }
        self.parent = None;
        Ok(())
    }
}

fn is_whiteout_at(above: &OwnedFd, name: &[u8]) -> bool {
    let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| is_whiteout(&stat))
}

/// Opens a directory below; links of the layer stay below as well.
pub(super) fn open_directory(below: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        below,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )
}

//! Owners, modes, times and extended attributes: read from an entry's headers, put on its file.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::members::Member;
use super::{Ownership, UnpackError, Unpacker, bad_stream, failed, invalid, shown};

/// The metadata of an entry.
pub(super) struct Entry<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: Mode,
    pub(super) times: Timestamps,
    pub(super) attributes: &'a [(String, Vec<u8>)],
}

impl Unpacker<'_> {
    /// Owner, mode and times of what cannot be opened without an effect.
    pub(super) fn finish_node(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry<'_>,
    ) -> Result<(), UnpackError> {
        if self.ownership == Ownership::Exact {
            rustix::fs::chownat(
                parent,
                name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(failed("given its owner", name))?;
        }
        // It was made in this call and is no link.
        rustix::fs::chmodat(parent, name, entry.mode, AtFlags::empty())
            .map_err(failed("given its mode", name))?;
        rustix::fs::utimensat(parent, name, &entry.times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("given its time", name))
    }

    /// Owner first: a change of owner takes the setuid bit and the capabilities away.
    pub(super) fn finish_file(
        &mut self,
        file: &OwnedFd,
        name: &[u8],
        entry: &Entry<'_>,
    ) -> Result<(), UnpackError> {
        match self.ownership {
            Ownership::Exact => rustix::fs::fchown(
                file,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
            )
            .map_err(failed("given its owner", name))?,
            Ownership::Squash => {
                if (entry.uid, entry.gid) != (0, 0) {
                    self.note("all files belong to user 0: no other id exists here");
                }
            }
        }
        rustix::fs::fchmod(file, entry.mode).map_err(failed("given its mode", name))?;
        for (attribute, value) in entry.attributes {
            match rustix::fs::fsetxattr(file, attribute.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) => {
                    self.note("some extended attributes were left out");
                }
                Err(errno) => return Err(failed("given its attributes", name)(errno)),
            }
        }
        Ok(())
    }

    /// The layer's own root keeps the owner and mode it was made with: a container's `/` has those
    /// of its upper directory, and a directory that its user may not write (`dr-xr-xr-x` in many
    /// images) could not be moved to its place in the store.
    pub(super) fn finish_root(&mut self, entry: &Entry<'_>) -> Result<(), UnpackError> {
        self.remember(self.target, Vec::new(), &entry.times)
    }
}

pub(super) fn metadata(member: &Member) -> Result<Entry<'_>, UnpackError> {
    let Member {
        header, extended, ..
    } = member;
    let id = |said: Option<u32>, value: io::Result<u64>| {
        said.or_else(|| u32::try_from(value.ok()?).ok())
            .filter(|id| *id != u32::MAX)
    };
    let (Some(uid), Some(gid)) = (
        id(extended.uid, header.uid()),
        id(extended.gid, header.gid()),
    ) else {
        return invalid(format!("`{}` has no valid owner", shown(&member.path)));
    };
    let mode = header.mode().map_err(|error| bad_stream(&error))? & 0o7777;
    let time = extended.modified.unwrap_or_else(|| Timespec {
        tv_sec: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0),
        tv_nsec: 0,
    });
    Ok(Entry {
        uid,
        gid,
        mode: Mode::from_raw_mode(mode),
        times: Timestamps {
            last_access: time,
            last_modification: time,
        },
        attributes: &extended.attributes,
    })
}

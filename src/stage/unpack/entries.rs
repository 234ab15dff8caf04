//! The entries of a layer, one function a type. None is made over something that exists.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use tar::EntryType;

use super::beneath::open_directory;
use super::members::{Archive, Member};
use super::metadata::Entry;
use super::whiteout::is_whiteout;
use super::{
    Ownership, UnpackError, Unpacker, bad_stream, failed, full, invalid, shown, too_large,
};

impl Unpacker<'_> {
    pub(super) fn directory(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry<'_>,
    ) -> Result<(), UnpackError> {
        let parent = self.parent(names)?;
        let there = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_in_the_way = there.is_ok();
        let is_there =
            there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if !is_there {
            self.clear(&parent, name)?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))
                .map_err(failed("made", name))?;
        }
        let directory = rustix::fs::openat(
            &parent,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed("opened", name))?;
        if is_in_the_way && !is_there {
            self.make_opaque(&directory, name)?;
        }
        self.finish_file(&directory, name, entry)?;
        self.remember(&directory, full(names, name), &entry.times)
    }

    pub(super) fn file(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry<'_>,
        member: &Member,
        archive: &mut Archive<'_>,
    ) -> Result<(), UnpackError> {
        // The holes of a sparse file are in no archive, so they are counted here.
        self.written = self.written.saturating_add(member.length);
        if self.written > self.limits.max_bytes {
            return too_large(self.limits);
        }
        let parent = self.parent(names)?;
        let open = || {
            rustix::fs::openat(
                &parent,
                name,
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o600),
            )
        };
        let file = match open() {
            Err(Errno::EXIST) => {
                self.clear(&parent, name)?;
                open().map_err(failed("made", name))?
            }
            opened => opened.map_err(failed("made", name))?,
        };
        let mut file = File::from(file);
        for piece in &member.pieces {
            let copied = file
                .seek(SeekFrom::Start(piece.offset))
                .and_then(|_| io::copy(&mut archive.by_ref().take(piece.length), &mut file))
                .map_err(|error| not_written(name, &error))?;
            if copied < piece.length {
                return invalid(format!("it ends within `{}`", shown(name)));
            }
        }
        // What follows the last piece is a hole.
        if member.length > member.size {
            file.set_len(member.length)
                .map_err(|error| not_written(name, &error))?;
        }
        let file = OwnedFd::from(file);
        self.finish_file(&file, name, entry)?;
        rustix::fs::futimens(&file, &entry.times).map_err(failed("given its time", name))
    }

    pub(super) fn symlink(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry<'_>,
        link: &[u8],
    ) -> Result<(), UnpackError> {
        if link.is_empty() || link.contains(&0) {
            return invalid(format!("the link `{}` has no target", shown(name)));
        }
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        rustix::fs::symlinkat(link, &parent, name).map_err(failed("made", name))?;
        if self.ownership == Ownership::Exact {
            rustix::fs::chownat(
                &parent,
                name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(failed("given its owner", name))?;
        }
        rustix::fs::utimensat(&parent, name, &entry.times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("given its time", name))
    }

    pub(super) fn hard_link(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        link: &[u8],
    ) -> Result<(), UnpackError> {
        let mut target = self.components(link)?;
        let Some(target_name) = target.pop() else {
            return invalid(format!("the link `{}` has no target", shown(name)));
        };
        if full(&target, &target_name) == full(names, name) {
            return invalid(format!("`{}` is a link to itself", shown(name)));
        }
        let from_path = target.join(&b'/');
        let from_path: &[u8] = if from_path.is_empty() {
            b"."
        } else {
            &from_path
        };
        let Ok(from) = open_directory(self.target, from_path) else {
            return invalid(format!("`{}` is a link to nothing", shown(name)));
        };
        match rustix::fs::statat(&from, target_name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return invalid(format!("`{}` is a link to a directory", shown(name)));
            }
            Ok(stat) if !is_whiteout(&stat) => {}
            Ok(_) | Err(_) => return invalid(format!("`{}` is a link to nothing", shown(name))),
        }
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        rustix::fs::linkat(
            &from,
            target_name.as_slice(),
            &parent,
            name,
            AtFlags::empty(),
        )
        .map_err(|errno| match errno {
            Errno::NOENT => UnpackError::Invalid(format!("`{}` is a link to nothing", shown(name))),
            errno => failed("linked", name)(errno),
        })
    }

    pub(super) fn fifo(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry<'_>,
    ) -> Result<(), UnpackError> {
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(failed("made", name))?;
        self.finish_node(&parent, name, entry)
    }

    pub(super) fn device(
        &mut self,
        names: &[Vec<u8>],
        name: &[u8],
        entry: &Entry<'_>,
        kind: EntryType,
        (major, minor): (u32, u32),
    ) -> Result<(), UnpackError> {
        // To overlay 0:0 is a whiteout, and only `.wh.` names make those. mknod(2) drops all but
        // the lower 32 bits, so 4096:0 would be one as well.
        let device = rustix::fs::makedev(major, minor);
        if device.trailing_zeros() >= 32 {
            self.note("device nodes with the number 0:0 were left out");
            return Ok(());
        }
        let parent = self.parent(names)?;
        self.clear(&parent, name)?;
        let file_type = if kind == EntryType::Char {
            FileType::CharacterDevice
        } else {
            FileType::BlockDevice
        };
        match rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(0o600), device) {
            Ok(()) => self.finish_node(&parent, name, entry),
            Err(Errno::PERM) => {
                self.note("device nodes were left out: this user may not make them");
                Ok(())
            }
            Err(errno) => Err(failed("made", name)(errno)),
        }
    }
}

/// The layer's own errors come through the same calls, and have no number.
fn not_written(name: &[u8], error: &io::Error) -> UnpackError {
    match error.raw_os_error() {
        Some(_) => UnpackError::Failed(format!("{} cannot be written: {error}", shown(name))),
        None => bad_stream(error),
    }
}

//! The files that podrun writes for containers, replaced all at once (the kubelet's `AtomicWriter`).
//!
//! ```text
//!  volume/
//!    ..2026_11_25_20_15_03.123456789/   the files
//!      app.conf  nested/key
//!    ..data  ->  ..2026_11_25_20_15_03.123456789      swapped by rename(2)
//!    app.conf  ->  ..data/app.conf                    one link for each first name
//!    nested    ->  ..data/nested
//! ```

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::plan::ProjectedFile;
use crate::sys::tree::remove_beneath;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Writes the files into a volume's directory.
pub(super) fn write(
    volume: BorrowedFd<'_>,
    files: &[ProjectedFile],
    now: Timestamp,
) -> io::Result<()> {
    let old = rustix::fs::readlinkat(volume, DATA, Vec::new());
    let old = match old {
        Ok(name) => Some(name.to_string_lossy().into_owned()),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno.into()),
    };
    let name = now.strftime("..%Y_%m_%d_%H_%M_%S.%N").to_string();
    let written = write_payload(volume, &name, files).and_then(|()| {
        rustix::fs::unlinkat(volume, NEW_DATA, AtFlags::empty()).ok();
        rustix::fs::symlinkat(name.as_str(), volume, NEW_DATA)?;
        Ok(rustix::fs::renameat(volume, NEW_DATA, volume, DATA)?)
    });
    if let Err(error) = written {
        remove_beneath(volume, &name).ok();
        return Err(error);
    }
    let first = |file: &ProjectedFile| {
        let end = file.path.find('/').unwrap_or(file.path.len());
        file.path.get(..end).unwrap_or_default().to_owned()
    };
    let wanted: BTreeSet<String> = files.iter().map(first).collect();
    for name in &wanted {
        match rustix::fs::symlinkat(format!("{DATA}/{name}"), volume, name.as_str()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    for entry in Dir::read_from(volume)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        // What begins with two dots is not of the files.
        if entry.file_type() == FileType::Symlink
            && !name.starts_with("..")
            && !wanted.contains(name.as_ref())
        {
            rustix::fs::unlinkat(volume, entry.file_name(), AtFlags::empty())?;
        }
    }
    match old {
        Some(old) if old != name => remove_beneath(volume, &old),
        Some(_) | None => Ok(()),
    }
}

fn write_payload(volume: BorrowedFd<'_>, name: &str, files: &[ProjectedFile]) -> io::Result<()> {
    let payload = make_directory(volume, name)?;
    for file in files {
        let mut parts = file.path.split('/').peekable();
        let mut directory = payload.try_clone()?;
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                directory = make_directory(directory.as_fd(), part)?;
            } else {
                write_file(directory.as_fd(), part, file)?;
            }
        }
    }
    Ok(())
}

fn make_directory(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // Whatever the umask is.
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
    Ok(directory)
}

fn write_file(directory: BorrowedFd<'_>, name: &str, file: &ProjectedFile) -> io::Result<()> {
    let opened = rustix::fs::openat(
        directory,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )?;
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(file.mode))?;
    io::Write::write_all(&mut std::fs::File::from(opened), &file.content.0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::plan::FileContent;

    fn file(path: &str, mode: u32, content: &str) -> ProjectedFile {
        ProjectedFile {
            path: path.to_owned(),
            mode,
            content: FileContent(content.as_bytes().to_vec()),
        }
    }

    fn write_at(dir: &Path, second: i64, files: &[ProjectedFile]) {
        let volume = fs::File::open(dir).unwrap();
        write(
            volume.as_fd(),
            files,
            Timestamp::from_second(second).unwrap(),
        )
        .unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_behind_links_that_lead_to_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            file("a", 0o400, "1"),
            file("n/b", 0o751, "2"),
            file("n/c", 0o644, "3"),
        ];
        write_at(dir.path(), 0, &files);
        assert_eq!(
            names(dir.path()),
            ["..1970_01_01_00_00_00.000000000", "..data", "a", "n"]
        );
        let link = |name: &str| fs::read_link(dir.path().join(name)).unwrap();
        assert_eq!(link("..data"), Path::new("..1970_01_01_00_00_00.000000000"));
        assert_eq!(link("a"), Path::new("..data/a"));
        assert_eq!(link("n"), Path::new("..data/n"));
        for (name, mode, content) in [("a", 0o400, "1"), ("n/b", 0o751, "2"), ("n/c", 0o644, "3")] {
            let path = dir.path().join(name);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
                mode
            );
            assert_eq!(fs::read_to_string(path).unwrap(), content);
        }
    }

    #[test]
    fn a_second_write_replaces_all_and_leaves_nothing_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        write_at(
            dir.path(),
            0,
            &[file("a", 0o644, "1"), file("gone/x", 0o644, "2")],
        );
        write_at(
            dir.path(),
            1,
            &[file("a", 0o644, "new"), file("more", 0o644, "3")],
        );
        assert_eq!(
            names(dir.path()),
            ["..1970_01_01_00_00_01.000000000", "..data", "a", "more"]
        );
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "new");
        write_at(dir.path(), 2, &[]);
        assert_eq!(
            names(dir.path()),
            ["..1970_01_01_00_00_02.000000000", "..data"]
        );
    }
}

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
//!
//! Containers have it read-only, but one that may mount can undo that: everything goes by
//! descriptors and single names, follows no link, and takes away whatever is in its way.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::{Dir, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::group::{self, Access};
use crate::plan::ProjectedFile;
use crate::sys::tree::remove_beneath;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Writes the files into a volume's directory and takes away what was there before. Until the
/// rename the old files stay as they are.
pub(super) fn write(
    volume: BorrowedFd<'_>,
    files: &[ProjectedFile],
    gid: Option<u32>,
    now: Timestamp,
) -> io::Result<()> {
    give(volume, gid)?;
    // Listed and not read from the links: they may lead to wherever a container wants.
    let before = names(volume)?;
    let name = now.strftime("..%Y_%m_%d_%H_%M_%S.%N").to_string();
    rustix::fs::mkdirat(volume, &name, Mode::from_raw_mode(0o700))?;
    let written = write_payload(volume, &name, files, gid).and_then(|()| {
        remove_beneath(volume, NEW_DATA)?;
        rustix::fs::symlinkat(name.as_str(), volume, NEW_DATA)?;
        match rustix::fs::renameat(volume, NEW_DATA, volume, DATA) {
            // A directory: podrun makes none there.
            Err(Errno::ISDIR) => {
                remove_beneath(volume, DATA)?;
                Ok(rustix::fs::renameat(volume, NEW_DATA, volume, DATA)?)
            }
            renamed => Ok(renamed?),
        }
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
        link(volume, name)?;
    }
    for name in before {
        if name != DATA && !wanted.contains(&name) {
            remove_beneath(volume, &name)?;
        }
    }
    Ok(())
}

/// The names in a volume; one that is no text is none of podrun's and is left alone.
fn names(volume: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(volume)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The link that leads to a name among the files.
fn link(volume: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let target = format!("{DATA}/{name}");
    match rustix::fs::readlinkat(volume, name, Vec::new()) {
        Ok(found) if found.to_bytes() == target.as_bytes() => return Ok(()),
        Err(Errno::NOENT) => {}
        Ok(_) | Err(_) => remove_beneath(volume, name)?,
    }
    Ok(rustix::fs::symlinkat(&target, volume, name)?)
}

fn write_payload(
    volume: BorrowedFd<'_>,
    name: &str,
    files: &[ProjectedFile],
    gid: Option<u32>,
) -> io::Result<()> {
    let payload = make_directory(volume, name, gid)?;
    for file in files {
        let mut parts = file.path.split('/').peekable();
        let mut directory = payload.try_clone()?;
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                directory = make_directory(directory.as_fd(), part, gid)?;
            } else {
                write_file(directory.as_fd(), part, file, gid)?;
            }
        }
    }
    Ok(())
}

fn make_directory(parent: BorrowedFd<'_>, name: &str, gid: Option<u32>) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // Whatever the umask is.
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
    give(directory.as_fd(), gid)?;
    Ok(directory)
}

/// To the pod's group, whose members read; nobody writes here but podrun.
fn give(file: BorrowedFd<'_>, gid: Option<u32>) -> io::Result<()> {
    gid.map_or(Ok(()), |gid| group::give(file, gid, Access::ReadOnly))
}

fn write_file(
    directory: BorrowedFd<'_>,
    name: &str,
    file: &ProjectedFile,
    gid: Option<u32>,
) -> io::Result<()> {
    let opened = rustix::fs::openat(
        directory,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )?;
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(file.mode))?;
    give(opened.as_fd(), gid)?;
    if let Some(user) = file.user {
        rustix::fs::fchown(&opened, Some(Uid::from_raw(user)), None)?;
    }
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
            user: None,
            content: FileContent(content.as_bytes().to_vec()),
        }
    }

    fn write_at(dir: &Path, second: i64, files: &[ProjectedFile]) {
        let volume = fs::File::open(dir).unwrap();
        write(
            volume.as_fd(),
            files,
            None,
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

    #[test]
    fn what_a_container_put_there_goes_and_leads_nowhere() {
        for way in ["directories", "links out", "links up"] {
            let dir = tempfile::tempdir().unwrap();
            let (volume, outside) = (dir.path().join("v"), dir.path().join("outside"));
            fs::create_dir(&outside).unwrap();
            fs::File::create_new(outside.join("canary")).unwrap();
            fs::create_dir(&volume).unwrap();
            for name in ["..data", "..data_tmp", "a", "n", "..old", "other"] {
                let path = volume.join(name);
                let link = |to: &str| std::os::unix::fs::symlink(to, &path).unwrap();
                match way {
                    "directories" => {
                        fs::create_dir_all(path.join("below")).unwrap();
                        std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
                    }
                    "links out" => link(outside.to_str().unwrap()),
                    _ => link("../outside/canary"),
                }
            }
            let files = [file("a", 0o644, "1"), file("n/b", 0o644, "2")];
            write_at(&volume, 0, &files);
            let made = ["..1970_01_01_00_00_00.000000000", "..data", "a", "n"];
            assert_eq!(names(&volume), made, "{way}");
            assert_eq!(fs::read_to_string(volume.join("n/b")).unwrap(), "2");
            assert_eq!(names(&outside), ["canary"], "{way}");
        }
    }
}

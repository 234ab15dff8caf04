#![expect(
    clippy::disallowed_methods,
    reason = "scratch files need no atomic writer"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;

/// An archive of raw headers, which may say what `tar` would not write.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn entry(mut self, kind: u8, name: &[u8], link: &[u8], mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(kind));
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn directory(self, name: &str) -> Self {
        self.entry(b'5', name.as_bytes(), b"", 0o755, b"")
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name.as_bytes(), b"", 0o644, content.as_bytes())
    }

    fn link(self, name: &str, to: &str) -> Self {
        self.entry(b'2', name.as_bytes(), to.as_bytes(), 0o777, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A destination with a neighbour that nothing may touch.
struct Place {
    scratch: TempDir,
}

impl Place {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("to")).unwrap();
        fs::create_dir(scratch.path().join("canary")).unwrap();
        fs::write(scratch.path().join("canary/secret"), "untouched").unwrap();
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("to").join(name)
    }

    /// As a download to `to/x`.
    fn unpack(&self, archive: &[u8]) -> Result<Skipped, CopyError> {
        let parent = fs::File::open(self.scratch.path().join("to")).unwrap();
        let name = FirstName {
            directory: b"x",
            file: b"x",
        };
        let target = Target {
            parent: std::os::fd::AsFd::as_fd(&parent),
            name: Some(name),
            links: Links::Inside,
        };
        let result = unpack(archive, &target);
        let canary = self.scratch.path().join("canary");
        assert_eq!(
            fs::read_to_string(canary.join("secret")).unwrap(),
            "untouched"
        );
        assert_eq!(fs::read_dir(canary).unwrap().count(), 1);
        let neighbours = fs::read_dir(self.scratch.path()).unwrap().count();
        assert_eq!(neighbours, 2, "something was made beside the destination");
        result
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in [
        "d/../../canary/new",
        "../canary/new",
        "d/..",
        "other/x",
        "..",
    ] {
        let place = Place::new();
        let archive = Raw::default().directory("d").file(name, "x").end();
        let error = place.unpack(&archive).unwrap_err();
        assert!(
            error.0.contains("leads upwards") || error.0.contains("does not belong"),
            "{name}: {error}"
        );
    }
}

#[test]
fn an_absolute_name_is_one_below_the_destination_or_refused() {
    let place = Place::new();
    let archive = Raw::default().directory("/d").file("/d/f", "x").end();
    place.unpack(&archive).unwrap();
    assert_eq!(fs::read_to_string(place.path("x/f")).unwrap(), "x");
}

#[test]
fn nothing_is_written_through_a_link_that_came_or_was_there() {
    let place = Place::new();
    let through = Raw::default()
        .directory("d")
        .directory("d/real")
        .link("d/l", "real")
        .file("d/l/f", "x")
        .end();
    assert!(place.unpack(&through).is_err());
    assert!(!place.path("x/real/f").exists());

    let place = Place::new();
    fs::create_dir(place.path("x")).unwrap();
    symlink("../../canary", place.path("x/l")).unwrap();
    let over = Raw::default().directory("d").file("d/l/new", "x").end();
    assert!(place.unpack(&over).is_err());
    let as_directory = Raw::default().directory("d").directory("d/l").end();
    assert!(place.unpack(&as_directory).is_err());
    symlink("../../canary/secret", place.path("x/f")).unwrap();
    let instead = Raw::default().directory("d").file("d/f", "x").end();
    place.unpack(&instead).unwrap();
    assert!(place.path("x/f").symlink_metadata().unwrap().is_file());
}

#[test]
fn the_copied_directory_itself_is_never_a_link() {
    let place = Place::new();
    symlink("../canary", place.path("x")).unwrap();
    let archive = Raw::default().directory("d").file("d/new", "x").end();
    assert!(place.unpack(&archive).is_err());
}

#[test]
fn links_are_made_only_if_they_stay_inside_whatever_else_is_there() {
    for (link, is_made) in [
        ("f", true),
        ("./sub/f", true),
        ("../f", true),
        ("/etc/passwd", false),
        ("../../canary", false),
        ("../../../canary", false),
        // Each `..` behind a name leads to wherever that name leads to.
        ("l/../f", false),
        ("l/l/l/../../..", false),
        ("", false),
    ] {
        let place = Place::new();
        let archive = Raw::default()
            .directory("d")
            .directory("d/sub")
            .link("d/sub/link", link)
            .end();
        let Ok(skipped) = place.unpack(&archive) else {
            assert_eq!(link, "", "only an empty link cannot be made");
            continue;
        };
        assert_eq!(skipped.lines().is_empty(), is_made, "{link}");
        let made = place.path("x/sub/link").symlink_metadata().is_ok();
        assert_eq!(made, is_made, "{link}");
    }
}

#[test]
fn a_single_link_is_inside_of_nothing() {
    let place = Place::new();
    for link in ["f", "../canary", "/etc/passwd"] {
        let skipped = place.unpack(&Raw::default().link("d", link).end()).unwrap();
        assert_eq!(skipped.lines().len(), 1, "{link}");
    }
}

#[test]
fn devices_fifos_and_hard_links_are_left_out_and_said() {
    let place = Place::new();
    let archive = Raw::default()
        .directory("d")
        .entry(b'3', b"d/null", b"", 0o666, b"")
        .entry(b'4', b"d/disk", b"", 0o666, b"")
        .entry(b'6', b"d/fifo", b"", 0o666, b"")
        .entry(b'1', b"d/hard", b"../canary/secret", 0o666, b"")
        .end();
    let skipped = place.unpack(&archive).unwrap();
    assert_eq!(skipped.lines().len(), 4);
    assert_eq!(fs::read_dir(place.path("x")).unwrap().count(), 0);
}

#[test]
fn set_user_id_and_the_like_are_dropped() {
    let place = Place::new();
    let archive = Raw::default()
        .entry(b'5', b"d", b"", 0o7755, b"")
        .entry(b'0', b"d/f", b"", 0o6755, b"x")
        .end();
    place.unpack(&archive).unwrap();
    for path in ["x", "x/f"] {
        let mode = fs::metadata(place.path(path)).unwrap().mode();
        assert_eq!(mode & 0o7000, 0, "{path}");
    }
    assert_eq!(
        fs::metadata(place.path("x/f")).unwrap().mtime(),
        1_000_000_000
    );
}

#[test]
fn headers_have_a_bound() {
    let long = vec![b'n'; MAX_PATH + 2];
    for kind in [b'L', b'K'] {
        let place = Place::new();
        let archive = Raw::default()
            .directory("d")
            .entry(kind, b"long", b"", 0, &long)
            .file("d/f", "x")
            .end();
        let error = place.unpack(&archive).unwrap_err();
        assert!(error.0.contains("too long"), "{error}");
    }
    let place = Place::new();
    let archive = Raw::default()
        .entry(b'x', b"pax", b"", 0, &vec![b'1'; 1 << 17])
        .directory("d")
        .end();
    assert!(place.unpack(&archive).is_err());
    let deep = "d".to_owned() + &"/d".repeat(MAX_DEPTH + 1);
    let archive = Raw::default()
        .entry(b'L', b"long", b"", 0, deep.as_bytes())
        .directory("d")
        .end();
    let error = Place::new().unpack(&archive).unwrap_err();
    assert!(error.0.contains("too deep"), "{error}");
}

#[test]
fn an_archive_that_is_cut_off_or_empty_is_an_error() {
    let whole = Raw::default().file("d", "0123456789").end();
    assert!(Place::new().unpack(&whole[..512 + 5]).is_err());
    assert!(Place::new().unpack(&[]).is_err());
    assert!(Place::new().unpack(&vec![7; 4096]).is_err());
}

#[test]
fn a_second_file_in_the_place_of_the_one_asked_for_is_refused() {
    let place = Place::new();
    let archive = Raw::default().file("d", "a").file("d/e", "b").end();
    assert!(place.unpack(&archive).is_err());
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let place = Place::new();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("x")).unwrap();
    let error = place
        .unpack(&Raw::default().file("d", "a").end())
        .unwrap_err();
    assert!(error.0.contains("no regular file"), "{error}");
    assert!(place.path("x").exists());
}

#[test]
fn what_was_left_out_is_said_without_control_characters_and_with_a_bound() {
    let mut archive = Raw::default().directory("d");
    for i in 0..100 {
        archive = archive.link(&format!("d/\x1b[2J{i}"), "/x");
    }
    let lines = Place::new().unpack(&archive.end()).unwrap().lines();
    assert_eq!(lines.len(), MAX_NOTES + 1);
    assert!(lines.concat().chars().all(|c| !c.is_control()));
}

/// Everything below a path with what is kept of it.
fn tree(path: &Path) -> Vec<(Vec<u8>, u32, Vec<u8>)> {
    use std::os::unix::ffi::OsStrExt;
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        let name = path.file_name().unwrap().as_bytes().to_vec();
        let mode = about.mode();
        if about.is_dir() {
            all.push((name, mode, Vec::new()));
            all.extend(tree(&path));
        } else if about.is_symlink() {
            let to = fs::read_link(&path).unwrap();
            all.push((name, mode, to.as_os_str().as_bytes().to_vec()));
        } else {
            all.push((name, mode, fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let from = place.scratch.path().join("to/from");
    fs::create_dir_all(from.join("a").join("n".repeat(200))).unwrap();
    for name in [&b"-rf"[..], b"\xff\xfe", b"new\nline", b" ", b"*", b"\\"] {
        fs::write(from.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(
        from.join("a").join("n".repeat(200)).join("m".repeat(255)),
        "deep",
    )
    .unwrap();
    fs::write(from.join("empty"), "").unwrap();
    fs::set_permissions(from.join("empty"), fs::Permissions::from_mode(0o500)).unwrap();
    symlink("../empty", from.join("a/up")).unwrap();
    symlink("dangling".repeat(20), from.join("dangles")).unwrap();
    let mut archive = Vec::new();
    assert_eq!(pack(&from, b"from", &mut archive).unwrap().lines().len(), 0);
    assert_eq!(place.unpack(&archive).unwrap().lines().len(), 0);
    assert_eq!(tree(&from), tree(&place.path("x")));
}

#[test]
fn the_root_of_a_tree_has_no_name_of_its_own() {
    let place = Place::new();
    let from = place.scratch.path().join("to/from");
    fs::create_dir_all(from.join("a")).unwrap();
    fs::write(from.join("a/f"), "x").unwrap();
    let mut archive = Vec::new();
    pack(&from, b".", &mut archive).unwrap();
    place.unpack(&archive).unwrap();
    assert_eq!(tree(&from), tree(&place.path("x")));
}

#[test]
fn what_cannot_be_copied_is_left_out_and_said() {
    let place = Place::new();
    let from = place.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("file"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    let mut archive = Vec::new();
    let skipped = pack(&from, b"from", &mut archive).unwrap();
    assert_eq!(skipped.lines().len(), 1, "{skipped:?}");
    place.unpack(&archive).unwrap();
    assert_eq!(tree(&place.path("x")).len(), 1);
    assert!(pack(&from.join("socket"), b"s", &mut Vec::new()).is_err());
    assert!(pack(&from.join("missing"), b"s", &mut Vec::new()).is_err());
}

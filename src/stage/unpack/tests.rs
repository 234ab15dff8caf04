//! Layers written byte by byte, unpacked into a scratch directory.

use std::io::Read;
use std::os::fd::AsFd;

use super::*;

/// An archive with one sparse file: all of it a hole, no data.
fn sparse(length: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("hole").unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_entry_type(EntryType::GNUSparse);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(length);
    gnu.sparse[0].set_offset(length);
    gnu.sparse[0].set_length(0);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn unpack(archive: &[u8], target: &std::path::Path) -> Result<Report, UnpackError> {
    let target = File::open(target).unwrap();
    let mut layer = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut layer, archive).unwrap();
    let opaque = OpaqueAttribute::User;
    let limits = Limits::default();
    run(layer, target.as_fd(), Ownership::Squash, opaque, &limits)
}

fn entry(name: &str, kind: EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_entry_type(kind);
    header
}

fn archive_of(mut headers: Vec<tar::Header>) -> Vec<u8> {
    let mut archive = Vec::new();
    for header in &mut headers {
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[test]
fn an_entry_inside_of_a_link_is_refused() {
    for kind in [EntryType::Link, EntryType::Symlink, EntryType::Directory] {
        let dir = tempfile::tempdir().unwrap();
        let mut outer = entry("outer", kind);
        outer.set_link_name("file").unwrap();
        outer.set_size(512);
        let archive = archive_of(vec![
            entry("file", EntryType::Regular),
            outer,
            entry("hidden", EntryType::Regular),
        ]);
        let result = unpack(&archive, dir.path());
        let is_invalid =
            matches!(&result, Err(UnpackError::Invalid(why)) if why.contains("content"));
        assert!(is_invalid, "{kind:?}: {result:?}");
    }
}

#[test]
fn no_device_number_becomes_a_whiteout() {
    for (major, minor) in [(0, 0), (4096, 0), (0, 1 << 20)] {
        let dir = tempfile::tempdir().unwrap();
        let mut device = entry("device", EntryType::Char);
        device.set_device_major(major).unwrap();
        device.set_device_minor(minor).unwrap();
        let report = unpack(&archive_of(vec![device]), dir.path()).unwrap();
        assert_eq!(report.warnings.len(), 1, "{major}:{minor}");
        assert!(!dir.path().join("device").exists(), "{major}:{minor}");
    }
}

#[test]
fn headers_and_directories_that_no_entry_names_are_bounded() {
    let unpack = |archive: &[u8], limits: &Limits| {
        let dir = tempfile::tempdir().unwrap();
        let target = File::open(dir.path()).unwrap();
        let mut layer = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut layer, archive).unwrap();
        let opaque = OpaqueAttribute::User;
        run(layer, target.as_fd(), Ownership::Squash, opaque, limits)
    };
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(2 << 20);
    header.set_path("x").unwrap();
    header.set_cksum();
    builder
        .append(&header, io::repeat(b'0').take(2 << 20))
        .unwrap();
    let result = unpack(&builder.into_inner().unwrap(), &Limits::default());
    assert!(
        matches!(&result, Err(UnpackError::Invalid(why)) if why.contains("headers")),
        "{result:?}"
    );

    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    for value in [
        tar::Header::set_uid,
        tar::Header::set_gid,
        tar::Header::set_size,
    ] {
        value(&mut header, 0);
    }
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "a/b/c/d/e", io::empty())
        .unwrap();
    let archive = builder.into_inner().unwrap();
    for (max_entries, fits) in [(5, true), (4, false)] {
        let limits = Limits {
            max_entries,
            ..Limits::default()
        };
        assert_eq!(unpack(&archive, &limits).is_ok(), fits, "{max_entries}");
    }
}

#[test]
fn a_directory_is_remembered_once_however_often_it_is_named() {
    use std::os::unix::fs::MetadataExt;
    let directory = |name: &str, time: u64| {
        let mut header = entry(name, EntryType::Directory);
        header.set_mode(0o755);
        header.set_mtime(time);
        header
    };
    let mut link = entry("link", EntryType::Symlink);
    link.set_link_name("a").unwrap();
    let mut headers = vec![directory("a", 1), link];
    headers.extend((0..100).map(|time| directory("a/b", time)));
    headers.push(directory("link/b", 300));
    headers.extend([entry("a/c", EntryType::Regular), directory("./a", 200)]);
    let archive = archive_of(headers);
    for (max_memory, fits) in [(300, true), (150, false)] {
        let dir = tempfile::tempdir().unwrap();
        let target = File::open(dir.path()).unwrap();
        let mut layer = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut layer, &archive).unwrap();
        let opaque = OpaqueAttribute::User;
        let limits = Limits {
            max_memory,
            ..Limits::default()
        };
        let result = run(layer, target.as_fd(), Ownership::Squash, opaque, &limits);
        assert_eq!(result.is_ok(), fits, "{result:?}");
        if fits {
            let time = |name: &str| dir.path().join(name).metadata().unwrap().mtime();
            assert_eq!((time("a"), time("a/b")), (200, 300));
        }
    }
}

#[test]
fn a_root_that_may_not_be_written_can_still_be_moved() {
    use std::os::unix::fs::PermissionsExt;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_path("./").unwrap();
    header.set_mode(0o555);
    header.set_uid(1000);
    header.set_gid(1000);
    header.set_size(0);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, io::empty()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = File::open(dir.path()).unwrap();
    let mut layer = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut layer, &builder.into_inner().unwrap()).unwrap();
    let opaque = OpaqueAttribute::User;
    let limits = Limits::default();
    run(layer, target.as_fd(), Ownership::Squash, opaque, &limits).unwrap();
    let mode = dir.path().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o200, 0o200, "{mode:o}");
}

#[test]
fn the_holes_of_a_sparse_file_count() {
    for (length, limit, fits) in [(1 << 20, 1 << 20, true), (64 << 20, 1 << 20, false)] {
        let dir = tempfile::tempdir().unwrap();
        let target = File::open(dir.path()).unwrap();
        let mut layer = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut layer, &sparse(length)).unwrap();
        let limits = Limits {
            max_bytes: limit,
            ..Limits::default()
        };
        let opaque = OpaqueAttribute::User;
        let result = run(layer, target.as_fd(), Ownership::Squash, opaque, &limits);
        let is_too_large =
            matches!(&result, Err(UnpackError::Invalid(why)) if why.contains("unpacks to more"));
        assert_eq!(result.is_ok(), fits, "{result:?}");
        assert_eq!(is_too_large, !fits, "{result:?}");
        let written = dir
            .path()
            .join("hole")
            .metadata()
            .map_or(0, |file| file.len());
        assert!(written <= limit + 1, "{written} bytes");
    }
}

/// Header and content of what says something about the next entry.
fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = entry("extension", EntryType::new(kind));
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut bytes = format!("{length} {key}=").into_bytes();
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let records: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    extension(b'x', &records)
}

/// A file's header and content.
fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = entry(name, EntryType::Regular);
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn end(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[track_caller]
fn refused(archive: &[u8], words: &str) {
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(archive, dir.path());
    let is_invalid = matches!(&result, Err(UnpackError::Invalid(why)) if why.contains(words));
    assert!(is_invalid, "{words}: {result:?}");
}

#[test]
fn values_of_extended_attributes_are_bytes() {
    let value = b"\x01\x00\x00\x02\n\n12 path=x\n\x00=\xff";
    let records: [(&str, &[u8]); 2] = [("SCHILY.xattr.user.podrun", value), ("path", b"long name")];
    let dir = tempfile::tempdir().unwrap();
    let archive = end(&[pax(&records), file("short", b"content")]);
    let report = unpack(&archive, dir.path()).unwrap();
    let path = dir.path().join("long name");
    assert_eq!(std::fs::read(&path).unwrap(), b"content");
    // Not every file system has such attributes.
    if report.warnings.is_empty() {
        let mut found = [0; 64];
        let length = rustix::fs::getxattr(&path, "user.podrun", &mut found).unwrap();
        assert_eq!(&found[..length], value);
    }
}

#[test]
fn the_last_record_of_a_key_counts() {
    let records: [(&str, &[u8]); 6] = [
        ("path", b"first"),
        ("size", b"0"),
        ("mtime", b"1"),
        ("mtime", b"-1.25"),
        ("size", b"7"),
        ("path", b"last"),
    ];
    let mut empty = file("header", b"content");
    let mut header = entry("header", EntryType::Regular);
    header.set_cksum();
    empty[..512].copy_from_slice(header.as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let archive = end(&[pax(&records), empty, file("next", b"")]);
    unpack(&archive, dir.path()).unwrap();
    let last = dir.path().join("last");
    assert_eq!(std::fs::read(&last).unwrap(), b"content");
    let stat = rustix::fs::stat(&last).unwrap();
    assert_eq!((stat.st_mtime, stat.st_mtime_nsec), (-2, 750_000_000));
    assert!(dir.path().join("next").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn records_that_are_none_are_refused() {
    for records in [
        &b"9 path=a"[..],
        b"9 path=a\n9",
        b"8 path=a\n",
        b"11 path=a\n",
        b"+9 path=a\n",
        b"99999999999999999999999 path=a\n",
        b"9 path=a\n\0\0\0",
        b" path=a\n",
        b"5 =a\n",
        b"7 path\n",
        b"10 size=x\n",
        b"11 size=+1\n",
        b"8 uid=x\n",
        b"10 mtime=\n",
        b"8 path=\n",
    ] {
        let archive = end(&[extension(b'x', records), file("b", b"")]);
        refused(&archive, "an extended header");
    }
}

#[test]
fn names_that_readers_disagree_about_are_refused() {
    let path = |value| pax(&[("path", value)]);
    let one = file("header", b"");
    refused(
        &end(&[extension(b'L', b"one\0"), path(b"two"), one.clone()]),
        "two names",
    );
    refused(
        &end(&[path(b"two"), extension(b'L', b"one\0"), one.clone()]),
        "two names",
    );
    refused(&end(&[path(b"one"), path(b"two"), one.clone()]), "twice");
    let long = extension(b'L', b"one\0");
    refused(&end(&[long.clone(), long.clone(), one.clone()]), "twice");
    refused(
        &end(&[extension(b'g', &record("path", b"x")), one.clone()]),
        "all entries",
    );
    refused(
        &end(&[extension(b'g', &record("size", b"512")), one.clone()]),
        "all entries",
    );
    refused(
        &end(&[
            long.clone(),
            extension(b'g', &record("comment", b"x")),
            one.clone(),
        ]),
        "between",
    );
    refused(&end(std::slice::from_ref(&long)), "no entry follows");

    let comment = extension(b'g', &record("comment", b"of git archive"));
    let dir = tempfile::tempdir().unwrap();
    unpack(&end(&[comment, long, path(b"one"), one]), dir.path()).unwrap();
    assert!(dir.path().join("one").exists());
}

#[test]
fn sparse_files_in_extended_headers_are_refused() {
    let version_0_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"1024"),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.offset", b"512"),
        ("GNU.sparse.numbytes", b"512"),
    ];
    let version_0_1: &[(&str, &[u8])] = &[
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.size", b"1024"),
        ("GNU.sparse.map", b"512,512"),
    ];
    let version_1_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"1024"),
    ];
    for records in [version_0_0, version_0_1, version_1_0] {
        refused(&end(&[pax(records), file("s", &[1; 512])]), "sparse");
    }
}

#[test]
fn a_file_whose_name_ends_with_a_slash_is_an_old_directory_or_nothing() {
    let typed = |kind: u8| {
        let mut header = entry("name/", EntryType::Regular);
        header.set_mode(0o755);
        header.as_old_mut().linkflag = [kind];
        header.set_cksum();
        end(&[header.as_bytes().to_vec(), file("name/below", b"")])
    };
    let dir = tempfile::tempdir().unwrap();
    unpack(&typed(0), dir.path()).unwrap();
    assert!(dir.path().join("name/below").exists());
    refused(&typed(b'0'), "slash");
    refused(&typed(b'7'), "slash");
}

#[test]
fn an_archive_that_is_cut_is_refused() {
    let whole = end(&[file("one", &[1; 700]), file("two", &[2; 10])]);
    for length in [100, 512, 600, 1212, 1600, 2048, 2058] {
        refused(&whole[..length], "");
    }
    // The blocks of zeros at the end are not missed.
    let dir = tempfile::tempdir().unwrap();
    unpack(&whole[..2560], dir.path()).unwrap();
}

/// A sparse file of the old GNU format: offset and length of each piece, of which `A` to `Z` are
/// the bytes.
fn old_sparse(pieces: &[(u64, u64)], length: u64) -> Vec<u8> {
    let mut header = entry("sparse", EntryType::GNUSparse);
    let stored: u64 = pieces.iter().map(|(_, length)| length).sum();
    header.set_size(stored);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(length);
    let (first, more) = pieces.split_at(pieces.len().min(4));
    for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(first) {
        slot.set_offset(*offset);
        slot.set_length(*length);
    }
    gnu.set_is_extended(!more.is_empty());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    let blocks = more.chunks(21).count();
    for (number, pieces) in more.chunks(21).enumerate() {
        let mut block = tar::GnuExtSparseHeader::new();
        for (slot, (offset, length)) in block.sparse.iter_mut().zip(pieces) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        block.set_is_extended(number + 1 < blocks);
        bytes.extend_from_slice(block.as_bytes());
    }
    for (letter, (_, length)) in (b'A'..=b'Z').cycle().zip(pieces) {
        bytes.resize(bytes.len() + usize::try_from(*length).unwrap(), letter);
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    end(&[bytes, file("next", b"")])
}

#[test]
fn sparse_files_have_their_holes() {
    let pieces: Vec<(u64, u64)> = (0..50).map(|n| (n * 4096 + 512, 512)).collect();
    for (count, tail) in [
        (0, 100),
        (1, 0),
        (4, 9),
        (5, 0),
        (25, 700),
        (26, 0),
        (50, 1),
    ] {
        let mut pieces = pieces[..count].to_vec();
        pieces.push((1 << 20, tail));
        let length = (1 << 20) + tail;
        let dir = tempfile::tempdir().unwrap();
        unpack(&old_sparse(&pieces, length), dir.path()).unwrap();
        let mut expected = vec![0; usize::try_from(length).unwrap()];
        for (letter, (offset, length)) in (b'A'..=b'Z').cycle().zip(&pieces) {
            let start = usize::try_from(*offset).unwrap();
            expected[start..start + usize::try_from(*length).unwrap()].fill(letter);
        }
        let found = std::fs::read(dir.path().join("sparse")).unwrap();
        assert!(found == expected, "{count} pieces");
        assert!(dir.path().join("next").exists());
    }
}

#[test]
fn as_many_pieces_as_headers_may_hold_are_read_one_by_one() {
    let pieces = |count: u64| -> Vec<(u64, u64)> { (1..=count).map(|n| (n * 1024, 0)).collect() };
    let dir = tempfile::tempdir().unwrap();
    unpack(&old_sparse(&pieces(42_000), 42_000 * 1024), dir.path()).unwrap();
    assert_eq!(
        dir.path().join("sparse").metadata().unwrap().len(),
        42_000 << 10
    );
    refused(&old_sparse(&pieces(44_000), 44_000 * 1024), "headers");
}

#[test]
fn sparse_files_that_readers_disagree_about_are_refused() {
    // Out of order, over each other, beyond the end, more than there is, not at a block.
    for (pieces, length) in [
        (&[(1024, 512), (0, 512)][..], 1536),
        (&[(0, 1024), (512, 512)], 1024),
        (&[(0, 512), (1024, 512)], 1024),
        (&[(0, 512), (u64::MAX, 512)], 1024),
        (&[(0, 100), (512, 100)], 612),
    ] {
        refused(&old_sparse(pieces, length), "sparse");
    }
    // A piece after the end of the list, which some read and some do not.
    let mut archive = old_sparse(&[(0, 512), (512, 0), (1024, 512)], 1536);
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&archive[..512]);
    let second = &mut header.as_gnu_mut().unwrap().sparse[1];
    second.offset.fill(0);
    second.numbytes.fill(0);
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    refused(&archive, "sparse");
}

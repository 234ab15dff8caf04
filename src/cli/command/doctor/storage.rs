//! What the store's file systems are like.

use super::Outcome;

/// One file system as `statfs(2)` and `statvfs(3)` tell it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileSystem {
    /// `f_type`
    pub(super) magic: i64,
    pub(super) is_noexec: bool,
    pub(super) is_nosuid: bool,
    pub(super) free_bytes: u64,
    /// None where inodes are not counted.
    pub(super) free_files: Option<u64>,
}

/// `linux/magic.h`; for vfat, exFAT and NTFS their drivers.
const UNFIT: [(i64, &str, &str); 9] = [
    (
        0x6969,
        "NFS",
        "owners and attributes of images are lost there",
    ),
    (
        0xff53_4d42,
        "CIFS",
        "owners and attributes of images are lost there",
    ),
    (
        0xfe53_4d42,
        "SMB",
        "owners and attributes of images are lost there",
    ),
    (0x4d44, "FAT", "it has no owners and no links"),
    (0x2011_bab0, "exFAT", "it has no owners and no links"),
    (0x5346_544e, "NTFS", "it has no owners that Linux knows"),
    (0x7366_746e, "NTFS", "it has no owners that Linux knows"),
    (0x0102_1997, "9p", "overlay cannot write to it"),
    (
        0x794c_7630,
        "overlay",
        "overlay cannot write to another one",
    ),
];

/// Those that end with the machine.
const MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Less does not hold a small image.
const LEAST: u64 = 64 << 20;

/// Less does not hold a few of the usual ones.
const LITTLE: u64 = 2 << 30;

/// An image has some ten thousand files.
const FEW_FILES: u64 = 20_000;

const ELSEWHERE: &str = "set PODRUN_ROOT to a directory on ext4, xfs, btrfs or another local disk";

/// What is wrong with the file system at `path`, the worst first.
pub(super) fn check(path: &str, found: FileSystem) -> Outcome {
    if let Some((_, name, why)) = UNFIT.iter().find(|(magic, ..)| *magic == found.magic) {
        return Outcome::Fail(format!("{path} is on {name}: {why}"), ELSEWHERE.to_owned());
    }
    let mebibytes = found.free_bytes >> 20;
    if found.free_bytes < LEAST || found.free_files.is_some_and(|files| files < FEW_FILES / 20) {
        let files = found
            .free_files
            .map_or(String::new(), |files| format!(" and {files} files"));
        return Outcome::Fail(
            format!("{path} is full: {mebibytes} MiB{files} are free"),
            "`podrun prune` removes what no pod uses; or set PODRUN_ROOT to a larger disk"
                .to_owned(),
        );
    }
    let mut notes = Vec::new();
    if MEMORY.contains(&found.magic) {
        notes.push("is in memory: images and claims end with the machine".to_owned());
    }
    if found.is_noexec {
        notes.push(
            "is mounted noexec: nothing in an emptyDir or a claim can be executed".to_owned(),
        );
    }
    if found.is_nosuid {
        notes.push("is mounted nosuid: set-user-id files in volumes give no rights".to_owned());
    }
    if found.free_bytes < LITTLE {
        notes.push(format!("has {mebibytes} MiB free"));
    } else if let Some(files) = found.free_files.filter(|files| *files < FEW_FILES) {
        notes.push(format!("has room for {files} files"));
    }
    if notes.is_empty() {
        return Outcome::Pass(format!("{path} has {mebibytes} MiB free"));
    }
    Outcome::Limited(format!("{path} {}", notes.join("; ")), ELSEWHERE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: FileSystem = FileSystem {
        magic: 0xef53,
        is_noexec: false,
        is_nosuid: false,
        free_bytes: 10 << 30,
        free_files: Some(1_000_000),
    };

    #[test]
    fn file_systems_are_told_by_what_they_cannot() {
        for (found, word, text) in [
            (DISK, "ok", "10240 MiB free"),
            (
                FileSystem {
                    free_files: None,
                    ..DISK
                },
                "ok",
                "free",
            ),
            (
                FileSystem {
                    magic: 0x6969,
                    ..DISK
                },
                "FAIL",
                "NFS",
            ),
            (
                FileSystem {
                    magic: 0x4d44,
                    ..DISK
                },
                "FAIL",
                "FAT",
            ),
            (
                FileSystem {
                    magic: 0x794c_7630,
                    ..DISK
                },
                "FAIL",
                "overlay",
            ),
            (
                FileSystem {
                    magic: 0x0102_1994,
                    ..DISK
                },
                "note",
                "in memory",
            ),
            (
                FileSystem {
                    is_noexec: true,
                    ..DISK
                },
                "note",
                "noexec",
            ),
            (
                FileSystem {
                    is_nosuid: true,
                    ..DISK
                },
                "note",
                "nosuid",
            ),
            (
                FileSystem {
                    free_bytes: 1 << 30,
                    ..DISK
                },
                "note",
                "1024 MiB free",
            ),
            (
                FileSystem {
                    free_bytes: 1 << 20,
                    ..DISK
                },
                "FAIL",
                "full: 1 MiB",
            ),
            (
                FileSystem {
                    free_files: Some(5000),
                    ..DISK
                },
                "note",
                "5000 files",
            ),
            (
                FileSystem {
                    free_files: Some(0),
                    ..DISK
                },
                "FAIL",
                "and 0 files",
            ),
            (
                FileSystem {
                    is_noexec: true,
                    free_bytes: 1 << 30,
                    ..DISK
                },
                "note",
                "noexec: nothing in an emptyDir or a claim can be executed; has 1024",
            ),
        ] {
            let outcome = check("/data", found);
            let (said, about, mend) = outcome.parts();
            assert_eq!(said, word, "{found:?}: {about}");
            assert!(
                about.starts_with("/data ") && about.contains(text),
                "{about}"
            );
            assert_eq!(mend.is_some(), word != "ok", "{about}");
        }
    }
}

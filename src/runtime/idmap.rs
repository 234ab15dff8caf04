//! Which ids a rootless pod has: the user's subordinate ranges, or its own id only.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::wire::IdSpace;

/// How the ids inside of a pod relate to the machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// podrun runs as root: the machine's ids.
    Machine,
    /// A user namespace with subordinate ranges (`subuid(5)`).
    Ranges(Ranges),
    /// A user namespace in which only id 0 exists, and why it is no better.
    Single {
        /// For the one warning.
        why: String,
    },
}

/// Id 0 is the user, the others come from its ranges, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    uid: u32,
    gid: u32,
    sub_uids: Vec<Range>,
    sub_gids: Vec<Range>,
    new_uid_map: PathBuf,
    new_gid_map: PathBuf,
}

/// A subordinate range: `start..start + count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First id on the machine.
    pub start: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// What this user has.
    pub fn of_this_user() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            return Self::Machine;
        }
        let gid = rustix::process::getegid().as_raw();
        let (Some(new_uid_map), Some(new_gid_map)) = (find("newuidmap"), find("newgidmap")) else {
            return Self::Single {
                why: "newuidmap and newgidmap are not installed (Debian: `apt install uidmap`)"
                    .to_owned(),
            };
        };
        let user = user_name(uid);
        let sub_uids = read_ranges(Path::new("/etc/subuid"), user.as_deref(), uid);
        let sub_gids = read_ranges(Path::new("/etc/subgid"), user.as_deref(), uid);
        if sub_uids.is_empty() || sub_gids.is_empty() {
            let name = user.unwrap_or_else(|| uid.to_string());
            return Self::Single {
                why: format!(
                    "{name} has no range in /etc/subuid and /etc/subgid (root can give one: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}`)"
                ),
            };
        }
        Self::Ranges(Ranges {
            uid,
            gid,
            sub_uids,
            sub_gids,
            new_uid_map,
            new_gid_map,
        })
    }

    /// The id space it makes.
    pub const fn space(&self) -> IdSpace {
        match self {
            Self::Machine => IdSpace::Machine,
            Self::Ranges(_) => IdSpace::Ranges,
            Self::Single { .. } => IdSpace::Single,
        }
    }

    /// How many ids exist inside, when it is not all of them.
    pub fn id_count(&self) -> Option<u32> {
        match self {
            Self::Machine => None,
            Self::Single { .. } => Some(1),
            Self::Ranges(ranges) => {
                let total = |list: &[Range]| {
                    list.iter()
                        .fold(1_u32, |sum, range| sum.saturating_add(range.count))
                };
                Some(total(&ranges.sub_uids).min(total(&ranges.sub_gids)))
            }
        }
    }
}

impl Ranges {
    /// The programs that write the maps.
    pub fn programs(&self) -> [&Path; 2] {
        [&self.new_uid_map, &self.new_gid_map]
    }

    /// Writes the maps of a process that waits in a new user namespace. Both programs run at once.
    ///
    /// # Errors
    /// When one of them cannot be started or says no; its own words are the error's.
    pub fn write(&self, pid: u32) -> io::Result<()> {
        let uids = start(&self.new_uid_map, pid, self.uid, &self.sub_uids)?;
        let gids = start(&self.new_gid_map, pid, self.gid, &self.sub_gids)?;
        let uids = uids.wait_with_output();
        let gids = gids.wait_with_output();
        for (program, output) in [("newuidmap", uids?), ("newgidmap", gids?)] {
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("{program}: {}", said.trim())));
            }
        }
        Ok(())
    }
}

fn start(program: &Path, pid: u32, own: u32, ranges: &[Range]) -> io::Result<std::process::Child> {
    let mut command = Command::new(program);
    command
        .arg(pid.to_string())
        .args(["0", &own.to_string(), "1"]);
    let mut inside = 1_u32;
    for range in ranges {
        command.args([
            inside.to_string(),
            range.start.to_string(),
            range.count.to_string(),
        ]);
        inside = inside.saturating_add(range.count);
    }
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// The program in PATH or in the places where distributions put it.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|file| {
            rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
        })
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn read_ranges(path: &Path, user: Option<&str>, uid: u32) -> Vec<Range> {
    parse_ranges(
        &std::fs::read_to_string(path).unwrap_or_default(),
        user,
        uid,
    )
}

/// The ranges of one user, by name or number (`subuid(5)`); lines that make no sense are skipped,
/// as newuidmap does.
fn parse_ranges(text: &str, user: Option<&str>, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let start: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let is_ours = Some(owner) == user || owner == number;
            (is_ours && count > 0 && start.checked_add(count).is_some())
                .then_some(Range { start, count })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "a:100:10\nb:200:20\n1000:300:30\n";
        assert_eq!(
            parse_ranges(text, Some("b"), 1000),
            [
                Range {
                    start: 200,
                    count: 20
                },
                Range {
                    start: 300,
                    count: 30
                }
            ]
        );
    }

    #[test]
    fn malformed_lines_are_skipped() {
        let text = "a\na:x:1\na:1\na:5:0\na:4294967295:5\n# a:1:1\na:7:7\n";
        assert_eq!(
            parse_ranges(text, Some("a"), 1),
            [Range { start: 7, count: 7 }]
        );
    }
}

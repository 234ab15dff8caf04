//! Who a container runs as: the one parser of user specifications and of the image's `passwd` and
//! `group`, for a container's start and nothing else to disagree with.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{GroupsPolicy, UserPlan};

/// Longer lines are not an entry.
const MAX_LINE: usize = 1024 * 1024;

/// The most groups of one user. The kernel would take 65536 (`NGROUPS_MAX`); so many fit into one
/// message to the supervisor, which has to know them for commands that come later.
const MAX_GROUPS: usize = 8192;

/// The longest home directory, in bytes (`PATH_MAX`).
const MAX_HOME: usize = 4096;

/// `(uid_t) -1`, which means "no change" to the kernel (`setresuid(2)`).
const NO_ID: u32 = u32::MAX;

/// A user, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub supplemental_groups: Vec<u32>,
    /// The home directory, `/` when the image names none.
    pub home: String,
}

/// Why there is no such user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserError {
    /// A name that is not in the image's file.
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name, escaped.
        name: String,
    },
    /// A text that is neither a name nor a number of the kernel's.
    Malformed(String),
    /// The home directory has a line break, which could forge an entry elsewhere, or is longer than a
    /// path can be.
    Home,
    /// There are more groups than podrun gives to a process.
    TooManyGroups,
    /// `runAsNonRoot` forbids it; the kubelet's words.
    Root(String),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { kind, name } => {
                let file = if *kind == "user" {
                    "/etc/passwd"
                } else {
                    "/etc/group"
                };
                write!(f, "{kind} `{name}` is not in the image's {file}")
            }
            Self::Malformed(text) => write!(
                f,
                "`{text}` is not a user (a name or a number from 0 to 4294967294, with `:group` or without)"
            ),
            Self::Root(why) => f.write_str(why),
            Self::Home => write!(
                f,
                "the home directory in the image's /etc/passwd has a line break or is too long"
            ),
            Self::TooManyGroups => write!(
                f,
                "the manifest and the image's /etc/group give the user more than {MAX_GROUPS} groups"
            ),
        }
    }
}

impl std::error::Error for UserError {}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= MAX_LINE)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| !line.is_empty() && !line.contains('\0'))
}

fn passwd_entries(file: &[u8]) -> impl Iterator<Item = Passwd<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        let home = fields.nth(1)?;
        Some(Passwd {
            name,
            uid,
            gid,
            home,
        })
    })
}

/// Name, gid and members of each group.
fn group_entries(file: &[u8]) -> impl Iterator<Item = (&str, u32, &str)> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = parse_id(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// A decimal number as the kernel takes it: digits only, not -1.
fn parse_id(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id != NO_ID)
}

fn is_numeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn malformed(text: &str) -> UserError {
    UserError::Malformed(text.escape_debug().take(64).collect())
}

/// Whether a text can be a name in `passwd` at all; a leading sign or a blank is a number that
/// went wrong.
fn check_name(text: &str, whole: &str) -> Result<(), UserError> {
    let odd = text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == ':');
    if text.is_empty() || odd || text.starts_with(['-', '+']) {
        Err(malformed(whole))
    } else {
        Ok(())
    }
}

/// Decides the numeric identity: `runAsUser` and `runAsGroup` before the image's user. A text of
/// digits is a number and never looked up as a name (CVE-2016-3697), and out of range it is an
/// error and never wrapped (CVE-2024-40635). A group that is not given is the user's primary one
/// in the image, or 0.
///
/// # Errors
/// As [`UserError`] says.
pub fn resolve_user(
    user: &UserPlan,
    passwd: &[u8],
    group: &[u8],
) -> Result<ResolvedUser, UserError> {
    let whole = user.image_user.as_str();
    let (image_user, image_group) = match whole.split_once(':') {
        Some((_, "")) => return Err(malformed(whole)),
        Some((name, group)) => (name, Some(group)),
        None => (whole, None),
    };

    check_non_root(user, image_user)?;
    let by_number = |uid: u32| passwd_entries(passwd).find(|entry| entry.uid == uid);
    let (uid, entry) = match user.run_as_user {
        Some(uid) => (uid, by_number(uid)),
        None if image_user.is_empty() && image_group.is_some() => return Err(malformed(whole)),
        None if image_user.is_empty() => (0, by_number(0)),
        None if is_numeric(image_user) => {
            let uid = parse_id(image_user).ok_or_else(|| malformed(whole))?;
            (uid, by_number(uid))
        }
        None => {
            check_name(image_user, whole)?;
            let entry = passwd_entries(passwd)
                .find(|entry| entry.name == image_user)
                .ok_or_else(|| UserError::Unknown {
                    kind: "user",
                    name: image_user.to_owned(),
                })?;
            (entry.uid, Some(entry))
        }
    };

    // The image's group belongs to the image's user.
    let image_group = image_group.filter(|_| user.run_as_user.is_none());
    let gid = match (user.run_as_group, image_group) {
        (Some(gid), _) => gid,
        (None, Some(text)) if is_numeric(text) => parse_id(text).ok_or_else(|| malformed(whole))?,
        (None, Some(name)) => {
            check_name(name, whole)?;
            group_entries(group)
                .find(|(entry, _, _)| *entry == name)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| UserError::Unknown {
                    kind: "group",
                    name: name.to_owned(),
                })?
        }
        (None, None) => entry.as_ref().map_or(0, |entry| entry.gid),
    };

    // The primary group is among the supplementary ones, or a setgid program could drop it and
    // with it what it denies (CVE-2022-36109).
    let mut supplemental_groups = vec![gid];
    let mut known = HashSet::from([gid]);
    let memberships = entry
        .iter()
        .filter(|_| user.groups_policy == GroupsPolicy::Merge)
        .flat_map(|entry| {
            let is_its = |members: &str| members.split(',').any(|member| member == entry.name);
            group_entries(group).filter(move |(_, _, members)| is_its(members))
        })
        .map(|(_, member_of, _)| member_of);
    for group in user.supplemental_groups.iter().copied().chain(memberships) {
        if known.insert(group) {
            supplemental_groups.push(group);
        }
        if supplemental_groups.len() > MAX_GROUPS {
            return Err(UserError::TooManyGroups);
        }
    }
    let home = entry
        .map(|entry| entry.home)
        .filter(|home| !home.is_empty())
        .unwrap_or("/");
    if home.contains(['\n', '\r']) || home.len() > MAX_HOME {
        return Err(UserError::Home);
    }
    Ok(ResolvedUser {
        uid,
        gid,
        supplemental_groups,
        home: home.to_owned(),
    })
}

/// `verifyRunAsNonRoot` of the kubelet: by what the manifest and the image's configuration say, for
/// the image's `/etc/passwd` may give any name the number 0.
fn check_non_root(user: &UserPlan, image_user: &str) -> Result<(), UserError> {
    if !user.run_as_non_root {
        return Ok(());
    }
    let is_root = |text: &str| text.is_empty() || parse_id(text) == Some(0);
    match user.run_as_user {
        Some(0) => Err(UserError::Root(
            "container's runAsUser breaks non-root policy".to_owned(),
        )),
        None if is_root(image_user) => Err(UserError::Root(
            "container has runAsNonRoot and image will run as root".to_owned(),
        )),
        None if !is_numeric(image_user) => Err(UserError::Root(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        ))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:trap:/:/bin/sh\n:x:0:0::/:\napp:x:10:20:app:/home/app:/bin/sh\nbroken\nneg:x:-1:0::/:\nmax:x:4294967295:0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\ngrp:x:30:app\nother:x:31:root,app\nself:x:20:app\n";

    fn resolve(image_user: &str) -> Result<(u32, u32), UserError> {
        let plan = UserPlan {
            image_user: image_user.to_owned(),
            ..UserPlan::default()
        };
        resolve_user(&plan, PASSWD, GROUP).map(|user| (user.uid, user.gid))
    }

    #[test]
    fn specifications_of_users_are_numbers_or_names_and_nothing_else() {
        for (text, ids) in [
            ("", (0, 0)),
            ("1", (1, 0)),
            ("1:2", (1, 2)),
            ("0", (0, 0)),
            ("0:0", (0, 0)),
            ("01", (1, 0)),
            ("app", (10, 20)),
            ("app:grp", (10, 30)),
            ("app:7", (10, 7)),
            ("1000", (1000, 0)),
            ("2147483648", (2_147_483_648, 0)),
            ("4294967294", (4_294_967_294, 0)),
        ] {
            assert_eq!(resolve(text), Ok(ids), "{text:?}");
        }
        for text in [
            ":5",
            "1:",
            "-1",
            "+1",
            "0x0",
            " 1",
            "1 ",
            "4294967295",
            "4294967296",
            "root\n",
            "nobody",
            "app:none",
            "999999999999999999999999999999",
            "neg",
            "max",
            "a b",
            "app:-1",
        ] {
            assert!(resolve(text).is_err(), "{text:?} gave {:?}", resolve(text));
        }
    }

    #[test]
    fn the_pods_ids_win_over_the_images() {
        let plan = UserPlan {
            image_user: "app:grp".to_owned(),
            run_as_user: Some(5),
            ..UserPlan::default()
        };
        let user = resolve_user(&plan, PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid), (5, 0));
        let plan = UserPlan {
            run_as_group: Some(9),
            ..plan
        };
        assert_eq!(resolve_user(&plan, PASSWD, GROUP).unwrap().gid, 9);
    }

    #[test]
    fn groups_are_the_primary_one_and_the_memberships_each_once() {
        let plan = UserPlan {
            image_user: "app".to_owned(),
            ..UserPlan::default()
        };
        let user = resolve_user(&plan, PASSWD, GROUP).unwrap();
        assert_eq!(user.supplemental_groups, [20, 30, 31]);
        assert_eq!(user.home, "/home/app");
    }

    #[test]
    fn groups_of_the_manifest_come_with_or_without_the_images() {
        let plan = UserPlan {
            image_user: "app".to_owned(),
            supplemental_groups: vec![40, 31, 40],
            ..UserPlan::default()
        };
        let user = resolve_user(&plan, PASSWD, GROUP).unwrap();
        assert_eq!(user.supplemental_groups, [20, 40, 31, 30]);
        let plan = UserPlan {
            groups_policy: GroupsPolicy::Strict,
            ..plan
        };
        let user = resolve_user(&plan, PASSWD, GROUP).unwrap();
        assert_eq!(user.supplemental_groups, [20, 40, 31]);
    }

    #[test]
    fn a_group_file_without_end_is_an_error_at_once() {
        let plan = UserPlan {
            image_user: "app".to_owned(),
            ..UserPlan::default()
        };
        let file =
            |count: u32| (0..count).fold(String::new(), |f, i| f + &format!("g:x:{i}:app\n"));
        let resolve = |text: &str| resolve_user(&plan, PASSWD, text.as_bytes());
        // Its primary group is among them.
        assert_eq!(
            resolve(&file(8192)).unwrap().supplemental_groups.len(),
            8192
        );
        assert_eq!(resolve(&file(8193)), Err(UserError::TooManyGroups));
        let members = "other,".repeat(100_000);
        let text = format!("big:x:77:{members}app\nbig:x:77:{members}app\n");
        assert_eq!(resolve(&text).unwrap().supplemental_groups, [20, 77]);
    }

    #[test]
    fn a_home_directory_is_a_path_or_an_error() {
        let resolve = |length: usize| {
            let passwd = format!("app:x:1:2::/{}:/\n", "h".repeat(length));
            let plan = UserPlan {
                image_user: "app".to_owned(),
                ..UserPlan::default()
            };
            resolve_user(&plan, passwd.as_bytes(), b"").map(|user| user.home.len())
        };
        assert_eq!(resolve(4095), Ok(4096));
        assert_eq!(resolve(4096), Err(UserError::Home));
    }

    #[test]
    fn non_root_is_verified_as_the_kubelet_does() {
        const ROOT: &str = "container has runAsNonRoot and image will run as root";
        const POLICY: &str = "container's runAsUser breaks non-root policy";
        const NAME: &str = "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root";
        for (image_user, run_as_user, error) in [
            ("", None, ROOT),
            ("0", None, ROOT),
            ("00:5", None, ROOT),
            ("app", None, NAME),
            ("app:grp", None, NAME),
            ("10", None, ""),
            ("app", Some(7), ""),
            ("10", Some(0), POLICY),
        ] {
            let plan = UserPlan {
                image_user: image_user.to_owned(),
                run_as_user,
                run_as_non_root: true,
                ..UserPlan::default()
            };
            let said = resolve_user(&plan, PASSWD, GROUP).map_err(|error| error.to_string());
            assert_eq!(
                said.err().unwrap_or_default(),
                error,
                "{image_user} {run_as_user:?}"
            );
        }
    }

    #[test]
    fn a_user_without_an_entry_has_the_root_directory_as_home() {
        let plan = UserPlan {
            run_as_user: Some(77),
            ..UserPlan::default()
        };
        assert_eq!(resolve_user(&plan, PASSWD, GROUP).unwrap().home, "/");
    }
}

//! Where podrun may make cgroups.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::cgroup::{Controller, Version};

/// A place beneath which podrun may make cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
    /// Its kind.
    pub version: Version,
    /// What it controls.
    pub controllers: Vec<Controller>,
}

/// A mounted hierarchy, as `/proc/self/mountinfo` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount_point: PathBuf,
    /// The part of the hierarchy that is mounted.
    root: PathBuf,
    version: Version,
    /// The controllers of version 1.
    controllers: Vec<Controller>,
}

/// Looks for places: as root each hierarchy of version 1, and in version 2 the uppermost cgroup
/// above this process that is this user's.
///
/// # Errors
/// As `read(2)` of `/proc`.
pub fn find() -> io::Result<Vec<Place>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let mut found: Vec<Place> = Vec::new();
    for hierarchy in hierarchies(&mounts) {
        let place = match hierarchy.version {
            Version::One => of_version_1(hierarchy),
            Version::Two => own_path(&own).and_then(|own| of_version_2(&hierarchy, own)),
        };
        let known = |controller: &Controller| {
            found
                .iter()
                .any(|place| place.controllers.contains(controller))
        };
        if let Some(mut place) = place {
            // One that is mounted twice.
            place.controllers.retain(|controller| !known(controller));
            if !place.controllers.is_empty() {
                found.push(place);
            }
        }
    }
    Ok(found)
}

/// `proc_pid_mountinfo(5)`: `ID PARENT DEV ROOT POINT OPTIONS … - TYPE SOURCE SUPEROPTIONS`
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    mounts
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut filesystem = filesystem.split(' ');
            let version = match filesystem.next()? {
                "cgroup" => Version::One,
                "cgroup2" => Version::Two,
                _ => return None,
            };
            let options = filesystem.nth(1)?;
            let mut fields = mount.split(' ').skip(3);
            let root = PathBuf::from(fields.next()?);
            let mount_point = PathBuf::from(fields.next()?);
            let named = options.split(',');
            let controllers = named.filter_map(|name| {
                let mut all = Controller::ALL.into_iter();
                all.find(|controller| controller.name() == name)
            });
            Some(Hierarchy {
                mount_point,
                root,
                version,
                controllers: controllers.collect(),
            })
        })
        .collect()
}

/// This process' cgroup of version 2, of the lines `ID:CONTROLLERS:PATH` (cgroups(7)).
fn own_path(lines: &str) -> Option<&Path> {
    let path = lines.lines().find_map(|line| line.strip_prefix("0::"));
    // Outside of the cgroup namespace's root.
    path.filter(|path| !path.contains("/.."))
        .map(|path| Path::new(path.trim_end_matches(" (deleted)")))
}

fn may_write(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn of_version_1(hierarchy: Hierarchy) -> Option<Place> {
    if hierarchy.controllers.is_empty() || !may_write(&hierarchy.mount_point) {
        return None;
    }
    Some(Place {
        directory: hierarchy.mount_point,
        version: Version::One,
        controllers: hierarchy.controllers,
    })
}

fn of_version_2(hierarchy: &Hierarchy, own: &Path) -> Option<Place> {
    let below = own.strip_prefix(&hierarchy.root).ok()?;
    let own = hierarchy.mount_point.join(below);
    let mut above: Vec<&Path> = own
        .ancestors()
        .take_while(|path| path.starts_with(&hierarchy.mount_point))
        .collect();
    above.reverse();
    // A process may be moved by who may write to the cgroup above both places.
    let directory = above.into_iter().find(|path| {
        may_write(path)
            && may_write(&path.join("cgroup.procs"))
            && may_write(&path.join("cgroup.subtree_control"))
    })?;
    let names = |file: &str| -> Vec<Controller> {
        let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        let named = |controller: &Controller| {
            text.split_whitespace()
                .any(|name| name == controller.name())
        };
        Controller::ALL.into_iter().filter(named).collect()
    };
    // A cgroup with processes of its own cannot give controllers to those below it, the
    // hierarchy's root excepted, which has no type.
    let can_enable = !directory.join("cgroup.type").exists()
        || std::fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|it| it.is_empty());
    Some(Place {
        version: Version::Two,
        controllers: names(if can_enable {
            "cgroup.controllers"
        } else {
            "cgroup.subtree_control"
        }),
        directory: directory.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        41 31 0:38 /a /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn hierarchies_are_found_among_the_mounts() {
        let found: Vec<(String, String, Version, Vec<&str>)> = hierarchies(MOUNTS)
            .into_iter()
            .map(|it| {
                (
                    it.mount_point.display().to_string(),
                    it.root.display().to_string(),
                    it.version,
                    it.controllers.iter().map(|one| one.name()).collect(),
                )
            })
            .collect();
        let path = |name: &str| format!("/sys/fs/cgroup/{name}");
        let root = "/".to_owned();
        assert_eq!(
            found,
            [
                (path("cpu,cpuacct"), root.clone(), Version::One, vec!["cpu"]),
                (path("memory"), root.clone(), Version::One, vec!["memory"]),
                (path("systemd"), root, Version::One, vec![]),
                (path("unified"), "/a".to_owned(), Version::Two, vec![]),
            ]
        );
    }

    #[test]
    fn the_own_cgroup_is_beneath_the_namespaces_root_or_none() {
        let path = |text| own_path(text).map(|path| path.display().to_string());
        assert_eq!(path("9:memory:/x\n0::/a/b\n"), Some("/a/b".to_owned()));
        assert_eq!(path("0::/a (deleted)\n"), Some("/a".to_owned()));
        assert_eq!(path("0::/../b\n"), None);
        assert_eq!(path("9:memory:/x\n"), None);
    }

    fn tree(root: &Path, directories: &[(&str, &str, &str, bool)]) {
        for (path, controllers, procs, is_delegated) in directories {
            let directory = root.join(path);
            std::fs::create_dir_all(&directory).unwrap();
            let write = |name: &str, text: &str| {
                crate::cgroup::tests::write(&directory.join(name), text);
            };
            write("cgroup.procs", procs);
            write("cgroup.controllers", controllers);
            write("cgroup.type", "domain");
            if *is_delegated {
                write("cgroup.subtree_control", "pids");
            }
        }
    }

    #[test]
    fn in_version_2_it_is_the_uppermost_that_is_the_users() {
        let dir = tempfile::tempdir().unwrap();
        tree(
            dir.path(),
            &[
                ("", "cpu memory pids io", "", false),
                ("user", "cpu memory pids", "", true),
                ("user/app", "memory", "", true),
                ("busy", "cpu memory pids", "1\n", true),
            ],
        );
        let hierarchy = Hierarchy {
            mount_point: dir.path().to_owned(),
            root: "/".into(),
            version: Version::Two,
            controllers: Vec::new(),
        };
        let found = |own: &str| {
            let place = of_version_2(&hierarchy, Path::new(own))?;
            let names: Vec<_> = place.controllers.iter().map(|one| one.name()).collect();
            let below = place.directory.strip_prefix(dir.path()).unwrap();
            Some(format!("{}: {}", below.display(), names.join(" ")))
        };
        assert_eq!(found("/user/app"), Some("user: cpu memory pids".to_owned()));
        assert_eq!(found("/busy"), Some("busy: pids".to_owned()));
        assert_eq!(found("/"), None);
    }
}

//! The ids of a user's pods: the ranges, and the programs that map them.

use super::Outcome;

/// What images expect to exist: those of distributions use ids up to 65534 (`nobody`).
const ENOUGH: u32 = 65536;

/// `newuidmap` or `newgidmap` as it is installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Helper<'a> {
    pub(super) path: &'a str,
    pub(super) owner: u32,
    pub(super) mode: u32,
    /// It has an attribute `security.capability`.
    pub(super) has_capability: bool,
    /// Its file system gives no rights to programs.
    pub(super) is_nosuid: bool,
}

/// Why one of the programs cannot map ids: set-user-id root, or the capability, is what lets it
/// (`newuidmap(1)`); copies of file systems lose both.
pub(super) fn powerless(helpers: &[Helper<'_>]) -> Option<Outcome> {
    const SET_USER_ID: u32 = 0o4000;
    let helper = helpers.iter().find(|helper| {
        let is_set_user_id = helper.owner == 0 && helper.mode & SET_USER_ID != 0;
        helper.is_nosuid || !(is_set_user_id || helper.has_capability)
    })?;
    let path = helper.path;
    Some(if helper.is_nosuid {
        Outcome::Fail(
            format!("{path} is on a file system that is mounted nosuid"),
            "put it on another file system, or remount this one with suid (as root)".to_owned(),
        )
    } else {
        Outcome::Fail(
            format!("{path} has neither its capability nor set-user-id root"),
            format!("apt install --reinstall uidmap, or chmod u+s {path} (as root)"),
        )
    })
}

/// Whether the ranges are large enough for most images.
pub(super) fn size(count: u32) -> Outcome {
    let text = format!("rootless; pods have {count} ids");
    if count >= ENOUGH {
        Outcome::Pass(text)
    } else {
        Outcome::Limited(
            format!("{text}, fewer than {ENOUGH}: images with higher ones cannot be unpacked"),
            format!(
                "usermod --add-subuids 100000-{0} --add-subgids 100000-{0} \"$USER\" (as root)",
                100_000 + ENOUGH - 1
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_without_its_power_is_named_with_its_mend() {
        let helper = |owner, mode, has_capability, is_nosuid| Helper {
            path: "/usr/bin/newuidmap",
            owner,
            mode,
            has_capability,
            is_nosuid,
        };
        for (helper, words) in [
            (helper(0, 0o104_755, false, false), None),
            (helper(0, 0o100_755, true, false), None),
            (
                helper(0, 0o100_755, false, false),
                Some("neither its capability"),
            ),
            (
                helper(1000, 0o104_755, false, false),
                Some("neither its capability"),
            ),
            (helper(0, 0o104_755, false, true), Some("nosuid")),
        ] {
            match (powerless(&[helper]), words) {
                (None, None) => {}
                (Some(Outcome::Fail(text, mend)), Some(words)) => {
                    assert!(text.contains(words) && text.contains(helper.path), "{text}");
                    assert!(!mend.is_empty());
                }
                (outcome, _) => panic!("{helper:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_small_range_is_a_note_with_the_numbers() {
        assert!(matches!(size(65537), Outcome::Pass(_)));
        let Outcome::Limited(text, mend) = size(1001) else {
            panic!("a note");
        };
        assert!(text.contains("1001") && text.contains("65536"), "{text}");
        assert!(mend.contains("100000-165535"), "{mend}");
    }
}

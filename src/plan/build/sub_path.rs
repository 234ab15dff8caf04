//! Which part of a volume a container has.

use k8s_openapi::api::core::v1::VolumeMount;

use crate::plan::{command, env_file};

/// `subPath`, or `subPathExpr` with the variables that the container's manifest declares
/// (`ExpandContainerVolumeMounts` and `makeMounts` of the kubelet); empty for the whole volume.
///
/// # Errors
/// What is wrong with `subPathExpr`, or with what it comes to.
pub(super) fn plan(mount: &VolumeMount, declared: &[(String, String)]) -> Result<String, String> {
    let written = mount.sub_path_expr.as_deref().unwrap_or_default();
    let path = if written.is_empty() {
        mount.sub_path.clone().unwrap_or_default()
    } else {
        command::expand_all(written, declared).map_err(|name| {
            format!(
                "the container has no variable `{}` in its env",
                name.escape_debug()
            )
        })?
    };
    if env_file::is_marked(&path) && !written.is_empty() {
        return Err("names a variable from a file, which is not read before the start".to_owned());
    }
    let shown = path.escape_debug();
    if path.starts_with('/') {
        return Err(format!("comes to `{shown}`, which is not a relative path"));
    }
    if path.contains('\0') {
        return Err(format!("comes to `{shown}`, which contains a NUL byte"));
    }
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => return Err(format!("comes to `{shown}`, which contains '..'")),
            name => names.push(name),
        }
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_volume_is_written_or_comes_from_variables() {
        let declared = [
            ("NAME", "web"),
            ("DEEP", "a//b/./c/"),
            ("UP", "../.."),
            ("ROOT", "/etc"),
            ("EMPTY", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (path, expression, expected) in [
            ("", "", Ok("")),
            (".", "", Ok("")),
            ("a/./b//c/", "", Ok("a/b/c")),
            ("a..b", "", Ok("a..b")),
            ("..data/x", "", Ok("..data/x")),
            ("$(NAME)", "", Ok("$(NAME)")),
            ("", "$(NAME)/$(DEEP)", Ok("web/a/b/c")),
            ("", "$$(NAME)", Ok("$(NAME)")),
            ("", "$(EMPTY)", Ok("")),
            (
                "",
                "x/$(NONE)",
                Err("the container has no variable `NONE` in its env"),
            ),
            ("", "$(UP)", Err("comes to `../..`, which contains '..'")),
            (
                "",
                "$(ROOT)/x",
                Err("comes to `/etc/x`, which is not a relative path"),
            ),
        ] {
            let mount = VolumeMount {
                sub_path: Some(path.to_owned()),
                sub_path_expr: Some(expression.to_owned()),
                ..VolumeMount::default()
            };
            let found = plan(&mount, &declared);
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{path} {expression}");
        }
    }
}

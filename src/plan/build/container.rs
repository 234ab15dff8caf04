//! One container.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::volume::clean_text;
use super::{Input, PlanProblem, problem};
use super::{env, ids, life, mounts, resources, security};
use crate::names::ContainerName;
use crate::plan::{ContainerPlan, Role, command};

/// What a container's plan is made of besides the container.
pub(super) struct Surroundings<'a> {
    pub(super) spec: &'a PodSpec,
    pub(super) input: &'a Input<'a>,
    pub(super) hostname: &'a str,
    /// The pod's addresses.
    pub(super) addresses: &'a [IpAddr],
}

/// Plans a container that is written at `path`.
pub(super) fn plan(
    path: &str,
    role: Role,
    container: &Container,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<PlanProblem>,
) -> Option<ContainerPlan> {
    let &Surroundings {
        spec,
        input,
        hostname,
        addresses,
    } = surroundings;
    let known = problems.len();
    let name = match ContainerName::new(container.name.as_str()) {
        Ok(name) => name,
        Err(error) => {
            problems.push(problem(format!("{path}.name"), error.rule));
            return None;
        }
    };
    let reference = container.image.clone().unwrap_or_default();
    let Some(image) = input.images.get(&reference) else {
        problems.push(problem(
            format!("{path}.image"),
            format!("`{reference}` is not present"),
        ));
        return None;
    };

    let facts = env::Facts { input, addresses };
    let env::Declared {
        variables: declared,
        files: env_files,
    } = env::declared(path, container, &facts, problems);
    let argv = command::argv(
        &image.config,
        container.command.as_deref(),
        container.args.as_deref(),
        &declared,
    );
    if argv.first().is_none_or(String::is_empty) {
        problems.push(PlanProblem {
            path: format!("{path}.command"),
            message: format!(
                "no command: image `{reference}` has neither an entrypoint nor a command"
            ),
            hint: Some("write `command: [...]`".to_owned()),
        });
    }
    let working_dir = container
        .working_dir
        .as_deref()
        .filter(|dir| !dir.is_empty())
        .or(Some(image.config.working_dir.as_str()).filter(|dir| !dir.is_empty()))
        .unwrap_or("/");
    if !working_dir.starts_with('/') || working_dir.contains('\0') {
        problems.push(problem(
            format!("{path}.workingDir"),
            format!("`{}` is not an absolute path", working_dir.escape_debug()),
        ));
    }
    let stop_signal = life::stop_signal(path, container, &image.config, problems)?;
    let address = addresses.first().map(ToString::to_string);
    let (probes, hooks) = life::Handlers {
        container,
        address: address.as_deref().unwrap_or_default(),
    }
    .all(path, problems);
    let user = security::user(
        path,
        container,
        spec,
        &image.config.user,
        ids::count(spec, input),
        problems,
    );
    let security = security::plan(path, container, spec, input, problems);
    let mounts = mounts::plan(path, container, surroundings, &declared, problems);
    (problems.len() == known).then(|| ContainerPlan {
        name,
        image: reference,
        image_id: image.image_id.clone(),
        root: image.root.clone(),
        read_only_root: container
            .security_context
            .as_ref()
            .and_then(|security| security.read_only_root_filesystem)
            == Some(true),
        argv,
        env: command::environment(&image.config, hostname, &declared),
        env_files,
        working_dir: clean_text(working_dir),
        user,
        security,
        resources: resources::plan(container.resources.as_ref()),
        // Of all containers together, when they are known.
        oom_score_adj: resources::LAST_OOM_SCORE,
        mounts,
        stop_signal,
        role,
        restart: life::restart(container),
        probes,
        hooks,
        termination_message: life::termination_message(container),
        console: life::console(container),
        target: None,
    })
}

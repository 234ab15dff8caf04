//! kubectl's columns, by kubectl's algorithm (`printPod` of pkg/printers/internalversion), but for
//! one thing: why a pod has failed as a whole is not hidden.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodSpec, PodStatus};

/// One row of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRow {
    /// `READY`: ready containers of all, sidecars among them.
    pub ready: String,
    /// `STATUS`
    pub status: String,
    /// `RESTARTS`, with the time of the last one.
    pub restarts: String,
    /// `AGE`
    pub age: String,
}

/// Restarts of some containers.
#[derive(Debug, Clone, Copy, Default)]
struct Restarts {
    count: i32,
    last: Option<jiff::Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count = self.count.saturating_add(container.restart_count);
        let ended = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .and_then(|end| end.finished_at.as_ref())
            .map(|time| time.0);
        self.last = self.last.max(ended);
    }

    fn cell(self, now: jiff::Timestamp) -> String {
        match self.last {
            Some(at) if self.count > 0 => {
                let ago = human_duration(now.duration_since(at).as_secs());
                format!("{} ({ago} ago)", self.count)
            }
            Some(_) | None => self.count.to_string(),
        }
    }
}

/// What the init containers say.
struct Init {
    ready: usize,
    /// All restarts up to the container that holds the pod up.
    restarts: Restarts,
    /// Those of sidecars among them.
    of_sidecars: Restarts,
    /// Why the pod is not initialized.
    reason: Option<String>,
}

/// What the containers say.
struct Main {
    ready: usize,
    restarts: Restarts,
    reason: Option<String>,
    has_running: bool,
}

/// The columns of a pod.
pub fn row(
    spec: &PodSpec,
    status: &PodStatus,
    created: jiff::Timestamp,
    is_deleted: bool,
    now: jiff::Timestamp,
) -> PodRow {
    let of_init = init(spec, status);
    let own = status.reason.as_ref().or(status.phase.as_ref());
    let mut reason = of_init
        .reason
        .clone()
        .or_else(|| own.cloned())
        .unwrap_or_else(|| "Unknown".to_owned());
    let mut restarts = of_init.restarts;
    let mut ready = of_init.ready;
    if of_init.reason.is_none() || condition_is_true(status, "Initialized") {
        let of_main = main(status, of_init.of_sidecars);
        restarts = of_main.restarts;
        ready = ready.saturating_add(of_main.ready);
        reason = of_main.reason.unwrap_or(reason);
        if reason == "Completed" && of_main.has_running {
            let is_ready = condition_is_true(status, "Ready");
            let shown = if is_ready { "Running" } else { "NotReady" };
            shown.clone_into(&mut reason);
        }
    }
    // Why a pod has failed as a whole (Evicted, DeadlineExceeded, SupervisorLost …). kubectl lets a
    // container's reason hide it; here the list says it, since it is what one looks for.
    if status.phase.as_deref() == Some("Failed")
        && let Some(own) = &status.reason
    {
        reason.clone_from(own);
    }
    if is_deleted {
        let has_ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if status.reason.as_deref() == Some("NodeLost") {
            "Unknown".clone_into(&mut reason);
        } else if !has_ended {
            "Terminating".clone_into(&mut reason);
        }
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .count();
    let containers = spec.containers.len().saturating_add(sidecars);
    PodRow {
        ready: format!("{ready}/{containers}"),
        status: reason,
        restarts: restarts.cell(now),
        age: human_duration(now.duration_since(created).as_secs()),
    }
}

fn init(spec: &PodSpec, status: &PodStatus) -> Init {
    let mut found = Init {
        ready: 0,
        restarts: Restarts::default(),
        of_sidecars: Restarts::default(),
        reason: None,
    };
    let planned = spec.init_containers.as_deref().unwrap_or_default();
    let statuses = status.init_container_statuses.as_deref();
    for (index, container) in statuses.unwrap_or_default().iter().enumerate() {
        let is_sidecar = planned.iter().any(|known| {
            known.name == container.name && known.restart_policy.as_deref() == Some("Always")
        });
        found.restarts.add(container);
        if is_sidecar {
            found.of_sidecars.add(container);
        }
        let state = container.state.as_ref();
        let end = state.and_then(|state| state.terminated.as_ref());
        let waiting = state
            .and_then(|state| state.waiting.as_ref())
            .and_then(|waiting| waiting.reason.as_deref())
            .filter(|reason| !matches!(*reason, "" | "PodInitializing"));
        if end.is_some_and(|end| end.exit_code == 0) {
            continue;
        }
        if is_sidecar && container.started == Some(true) {
            found.ready = found.ready.saturating_add(usize::from(container.ready));
            continue;
        }
        found.reason = Some(match (end, waiting) {
            (Some(end), _) => format!("Init:{}", end_reason(end)),
            (None, Some(reason)) => format!("Init:{reason}"),
            (None, None) => format!("Init:{index}/{}", planned.len()),
        });
        break;
    }
    found
}

/// The first container that has something to say decides.
fn main(status: &PodStatus, of_sidecars: Restarts) -> Main {
    let mut found = Main {
        ready: 0,
        restarts: of_sidecars,
        reason: None,
        has_running: false,
    };
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    for container in statuses.iter().rev() {
        found.restarts.add(container);
        let Some(state) = &container.state else {
            continue;
        };
        let waiting = state.waiting.as_ref().and_then(|w| w.reason.as_ref());
        if let Some(reason) = waiting.filter(|reason| !reason.is_empty()) {
            found.reason = Some(reason.clone());
        } else if let Some(end) = &state.terminated {
            found.reason = Some(end_reason(end));
        } else if container.ready && state.running.is_some() {
            found.has_running = true;
            found.ready = found.ready.saturating_add(1);
        }
    }
    found
}

fn end_reason(end: &ContainerStateTerminated) -> String {
    match (end.reason.as_deref(), end.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", end.exit_code),
    }
}

fn condition_is_true(status: &PodStatus, kind: &str) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// `HumanDuration` of k8s.io/apimachinery/pkg/util/duration: two significant units at most.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 3_600;
    const DAY: i64 = 86_400;
    const YEAR: i64 = 365 * DAY;
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    let s = seconds.max(0);
    match s {
        0..=119 => format!("{s}s"),
        120..=599 => pair(s / MINUTE, "m", s % MINUTE, "s"),
        600..=10_799 => format!("{}m", s / MINUTE),
        10_800..=28_799 => pair(s / HOUR, "h", (s % HOUR) / MINUTE, "m"),
        28_800..=172_799 => format!("{}h", s / HOUR),
        172_800..=691_199 => pair(s / DAY, "d", (s % DAY) / HOUR, "h"),
        691_200..=63_071_999 => format!("{}d", s / DAY),
        63_072_000..=252_287_999 => pair(s / YEAR, "y", (s % YEAR) / DAY, "d"),
        _ => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateWaiting, PodCondition,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_700_000_000_i64.saturating_add(seconds)).unwrap()
    }

    /// `i` and `j` are init containers, `s` and `t` sidecars, the others containers.
    fn spec(names: &str) -> PodSpec {
        let container = |name: char| Container {
            name: name.to_string(),
            restart_policy: matches!(name, 's' | 't').then(|| "Always".to_owned()),
            ..Container::default()
        };
        let is_init = |name: &char| matches!(name, 'i' | 'j' | 's' | 't');
        PodSpec {
            init_containers: Some(names.chars().filter(is_init).map(container).collect()),
            containers: names
                .chars()
                .filter(|c| !is_init(c))
                .map(container)
                .collect(),
            ..PodSpec::default()
        }
    }

    fn named(name: char, state: ContainerState) -> ContainerStatus {
        ContainerStatus {
            name: name.to_string(),
            started: Some(false),
            state: Some(state),
            ..ContainerStatus::default()
        }
    }

    fn waiting(name: char, reason: &str) -> ContainerStatus {
        let waiting = ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            ..ContainerStateWaiting::default()
        };
        let state = ContainerState {
            waiting: Some(waiting),
            ..ContainerState::default()
        };
        named(name, state)
    }

    /// Runs; `started` and `ready` as said.
    fn running(name: char, started: bool, ready: bool) -> ContainerStatus {
        let state = ContainerState {
            running: Some(ContainerStateRunning::default()),
            ..ContainerState::default()
        };
        ContainerStatus {
            started: Some(started),
            ready,
            ..named(name, state)
        }
    }

    fn end(code: i32, reason: &str, signal: Option<i32>) -> ContainerState {
        let terminated = ContainerStateTerminated {
            exit_code: code,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            signal,
            ..ContainerStateTerminated::default()
        };
        ContainerState {
            terminated: Some(terminated),
            ..ContainerState::default()
        }
    }

    fn ended(name: char, code: i32, reason: &str) -> ContainerStatus {
        named(name, end(code, reason, None))
    }

    fn restarted(mut container: ContainerStatus, count: i32, ended_at: i64) -> ContainerStatus {
        let mut last = end(1, "Error", None);
        if let Some(end) = &mut last.terminated {
            end.finished_at = Some(Time(at(ended_at)));
        }
        container.restart_count = count;
        container.last_state = Some(last);
        container
    }

    /// A status of these containers, by the letters of [`spec`].
    fn pod(phase: &str, containers: Vec<ContainerStatus>) -> PodStatus {
        let (init, main): (Vec<_>, Vec<_>) = containers
            .into_iter()
            .partition(|c| matches!(c.name.as_str(), "i" | "j" | "s" | "t"));
        PodStatus {
            phase: Some(phase.to_owned()),
            init_container_statuses: Some(init),
            container_statuses: Some(main),
            ..PodStatus::default()
        }
    }

    fn with(mut status: PodStatus, condition: &str) -> PodStatus {
        status
            .conditions
            .get_or_insert_default()
            .push(PodCondition {
                type_: condition.to_owned(),
                status: "True".to_owned(),
                ..PodCondition::default()
            });
        status
    }

    fn because(mut status: PodStatus, reason: &str) -> PodStatus {
        status.reason = Some(reason.to_owned());
        status
    }

    /// READY, STATUS and RESTARTS in one line.
    fn shown(names: &str, status: &PodStatus, is_deleted: bool) -> String {
        let row = row(&spec(names), status, at(0), is_deleted, at(600));
        assert_eq!(row.age, "10m");
        format!("{} {} {}", row.ready, row.status, row.restarts)
    }

    #[test]
    fn a_pod_without_statuses_shows_its_phase_or_reason() {
        assert_eq!(shown("a", &pod("Pending", vec![]), false), "0/1 Pending 0");
        let evicted = because(pod("Failed", vec![]), "Evicted");
        assert_eq!(shown("ab", &evicted, false), "0/2 Evicted 0");
        assert_eq!(shown("a", &PodStatus::default(), false), "0/1 Unknown 0");
    }

    #[test]
    fn why_a_pod_has_failed_is_not_hidden_by_how_its_containers_ended() {
        let ended = pod("Failed", vec![ended('a', 137, "Error")]);
        assert_eq!(shown("a", &ended, false), "0/1 Error 0");
        let evicted = because(ended, "Evicted");
        assert_eq!(shown("a", &evicted, false), "0/1 Evicted 0");
    }

    #[test]
    fn an_init_container_that_holds_the_pod_up_is_the_status() {
        let last = || waiting('a', "PodInitializing");
        for (second, expected) in [
            (waiting('j', "PodInitializing"), "0/1 Init:1/2 0"),
            (running('j', true, false), "0/1 Init:1/2 0"),
            (waiting('j', ""), "0/1 Init:1/2 0"),
            (
                waiting('j', "CrashLoopBackOff"),
                "0/1 Init:CrashLoopBackOff 0",
            ),
            (ended('j', 1, "Error"), "0/1 Init:Error 0"),
            (ended('j', 137, "OOMKilled"), "0/1 Init:OOMKilled 0"),
            (ended('j', 3, ""), "0/1 Init:ExitCode:3 0"),
            (named('j', end(143, "", Some(15))), "0/1 Init:Signal:15 0"),
        ] {
            let first = ended('i', 0, "Completed");
            let status = pod("Pending", vec![first, second, last()]);
            assert_eq!(shown("ija", &status, false), expected);
        }
    }

    #[test]
    fn a_started_sidecar_is_done_and_counts_as_ready_when_it_is() {
        for (sidecar, next, expected) in [
            (
                running('s', false, false),
                waiting('i', "PodInitializing"),
                "0/2 Init:0/2 0",
            ),
            (
                running('s', true, false),
                running('i', true, false),
                "0/2 Init:1/2 0",
            ),
            (
                running('s', true, true),
                running('i', true, false),
                "1/2 Init:1/2 0",
            ),
            (
                waiting('s', "CrashLoopBackOff"),
                waiting('i', "PodInitializing"),
                "0/2 Init:CrashLoopBackOff 0",
            ),
        ] {
            let last = waiting('a', "PodInitializing");
            let status = pod("Pending", vec![sidecar, next, last]);
            assert_eq!(shown("sia", &status, false), expected);
        }
        let all = vec![running('s', true, true), running('a', true, true)];
        assert_eq!(shown("sa", &pod("Running", all), false), "2/2 Running 0");
    }

    #[test]
    fn in_an_initialized_pod_a_sidecar_that_is_down_does_not_hide_the_containers() {
        let down = || waiting('s', "CrashLoopBackOff");
        let status = pod("Running", vec![down(), running('a', true, true)]);
        assert_eq!(shown("sa", &status, false), "0/2 Init:CrashLoopBackOff 0");
        let status = with(status, "Initialized");
        assert_eq!(shown("sa", &status, false), "1/2 Init:CrashLoopBackOff 0");
        let status = pod("Running", vec![down(), ended('a', 1, "Error")]);
        let status = with(status, "Initialized");
        assert_eq!(shown("sa", &status, false), "0/2 Error 0");
    }

    #[test]
    fn the_first_container_with_a_reason_is_the_status() {
        for (a, b, expected) in [
            (
                waiting('a', "ContainerCreating"),
                waiting('b', "ErrImagePull"),
                "0/2 ContainerCreating 0",
            ),
            (
                running('a', true, true),
                waiting('b', "CrashLoopBackOff"),
                "1/2 CrashLoopBackOff 0",
            ),
            (
                ended('a', 1, "Error"),
                running('b', true, true),
                "1/2 Error 0",
            ),
            (
                ended('a', 0, "Completed"),
                ended('b', 1, "Error"),
                "0/2 Completed 0",
            ),
            (
                ended('a', 3, ""),
                running('b', true, true),
                "1/2 ExitCode:3 0",
            ),
            (
                named('a', end(137, "", Some(9))),
                running('b', true, true),
                "1/2 Signal:9 0",
            ),
            (
                running('a', true, false),
                running('b', true, true),
                "1/2 Running 0",
            ),
        ] {
            assert_eq!(shown("ab", &pod("Running", vec![a, b]), false), expected);
        }
    }

    #[test]
    fn a_pod_of_which_one_container_is_completed_is_running_or_not_ready() {
        let status = pod(
            "Running",
            vec![ended('a', 0, "Completed"), running('b', true, true)],
        );
        assert_eq!(shown("ab", &status, false), "1/2 NotReady 0");
        let status = with(status, "Ready");
        assert_eq!(shown("ab", &status, false), "1/2 Running 0");
        let status = pod("Succeeded", vec![ended('a', 0, "Completed")]);
        assert_eq!(shown("a", &status, false), "0/1 Completed 0");
    }

    #[test]
    fn a_deleted_pod_is_terminating_until_it_has_ended() {
        let status = || pod("Running", vec![running('a', true, true)]);
        assert_eq!(shown("a", &status(), true), "1/1 Terminating 0");
        let lost = because(status(), "NodeLost");
        assert_eq!(shown("a", &lost, true), "1/1 Unknown 0");
        let failed = pod("Failed", vec![ended('a', 143, "Error")]);
        assert_eq!(shown("a", &failed, true), "0/1 Error 0");
    }

    #[test]
    fn restarts_are_those_of_init_containers_and_later_of_sidecars_and_containers() {
        let i = || restarted(ended('i', 0, "Completed"), 3, 100);
        let s = restarted(running('s', true, true), 2, 300);
        let early = vec![
            restarted(running('i', true, false), 3, 100),
            waiting('s', "PodInitializing"),
            waiting('a', "PodInitializing"),
        ];
        let early = shown("isa", &pod("Pending", early), false);
        assert_eq!(early, "0/2 Init:0/2 3 (8m20s ago)");
        // Those of a completed init container are not counted any more.
        let all = vec![i(), s.clone(), restarted(running('a', true, true), 4, 60)];
        let all = shown("isa", &pod("Running", all), false);
        assert_eq!(all, "2/2 Running 6 (5m ago)");
        let none = vec![i(), running('a', true, true)];
        assert_eq!(shown("ia", &pod("Running", none), false), "1/1 Running 0");
    }

    #[test]
    fn durations_have_kubectls_precision() {
        for (seconds, text) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (600, "10m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}

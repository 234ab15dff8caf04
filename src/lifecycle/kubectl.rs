//! kubectl's columns, by kubectl's algorithm (`printPod` of pkg/printers/internalversion).

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

/// One row of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRow {
    /// `READY`: ready containers of all.
    pub ready: String,
    /// `STATUS`
    pub status: String,
    /// `RESTARTS`, with the time of the last one.
    pub restarts: String,
    /// `AGE`
    pub age: String,
}

/// The columns of a pod.
pub fn row(
    status: &PodStatus,
    containers: usize,
    created: jiff::Timestamp,
    is_deleted: bool,
    now: jiff::Timestamp,
) -> PodRow {
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let ready = statuses
        .iter()
        .filter(|c| {
            c.ready
                && c.state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some())
        })
        .count();
    PodRow {
        ready: format!("{ready}/{containers}"),
        status: reason(status, statuses, is_deleted),
        restarts: restarts(statuses, now),
        age: human_duration(now.duration_since(created).as_secs()),
    }
}

fn reason(status: &PodStatus, statuses: &[ContainerStatus], is_deleted: bool) -> String {
    let mut reason = status
        .reason
        .clone()
        .or_else(|| status.phase.clone())
        .unwrap_or_else(|| "Unknown".to_owned());
    let mut has_running = false;
    for container in statuses.iter().rev() {
        let state = container.state.clone().unwrap_or_default();
        if let Some(waiting) = state.waiting.as_ref().and_then(|w| w.reason.as_ref()) {
            reason.clone_from(waiting);
        } else if let Some(terminated) = &state.terminated {
            reason = match (&terminated.reason, terminated.signal) {
                (Some(word), _) if !word.is_empty() => word.clone(),
                (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
                _ => format!("ExitCode:{}", terminated.exit_code),
            };
        } else if container.ready && state.running.is_some() {
            has_running = true;
        }
    }
    // A pod's own reason (Evicted, SupervisorLost …) is not hidden by its containers'.
    if let Some(own) = &status.reason {
        reason.clone_from(own);
    }
    if reason == "Completed" && has_running {
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        let shown = if ready { "Running" } else { "NotReady" };
        shown.clone_into(&mut reason);
    }
    if is_deleted && !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return "Terminating".to_owned();
    }
    reason
}

fn restarts(statuses: &[ContainerStatus], now: jiff::Timestamp) -> String {
    let count = statuses
        .iter()
        .fold(0_i32, |sum, c| sum.saturating_add(c.restart_count));
    let last = statuses
        .iter()
        .filter_map(|c| {
            c.last_state
                .as_ref()?
                .terminated
                .as_ref()?
                .finished_at
                .as_ref()
        })
        .map(|time| time.0)
        .max();
    match last {
        Some(at) if count > 0 => {
            format!(
                "{count} ({} ago)",
                human_duration(now.duration_since(at).as_secs())
            )
        }
        Some(_) | None => count.to_string(),
    }
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
    use super::*;

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

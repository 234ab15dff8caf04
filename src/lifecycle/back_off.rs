//! The kubelet's restart back-off (`doBackOff` of `kuberuntime_manager.go`): the first restart is
//! immediate, the following wait 10 s, 20 s, 40 s … 300 s after the end of the run before, for
//! whatever reason it ended.

use crate::plan::BackOff;

/// A container whose restarts were not delayed for this long starts anew (`2 × max`, kept at ten
/// minutes when the maximum is lowered).
const FORGET_MS: u64 = 600_000;

/// The back-off of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delay {
    constants: BackOff,
    /// The delay after the next end; none before the first restart.
    current_ms: Option<u64>,
    bumped_at_ms: u64,
}

impl Delay {
    pub(super) const fn new(constants: BackOff) -> Self {
        Self {
            constants,
            current_ms: None,
            bumped_at_ms: 0,
        }
    }

    /// How long to wait after an end at `finished_ms` before the restart; counts this restart.
    pub(super) fn next(&mut self, finished_ms: u64) -> u64 {
        let forgotten = finished_ms.saturating_sub(self.bumped_at_ms) > FORGET_MS;
        let delay = match self.current_ms {
            Some(current) if !forgotten => current,
            _ => 0,
        };
        let doubled = if delay == 0 {
            self.constants.initial_ms
        } else {
            delay.saturating_mul(2)
        };
        self.current_ms = Some(doubled.min(self.constants.max_ms));
        self.bumped_at_ms = finished_ms.saturating_add(delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_the_others_double_up_to_the_maximum() {
        let mut delay = Delay::new(BackOff::default());
        let mut now = 0;
        let delays: Vec<u64> = (0..9)
            .map(|_| {
                let wait = delay.next(now);
                now += wait + 1000;
                wait / 1000
            })
            .collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_make_it_start_anew() {
        let mut delay = Delay::new(BackOff::default());
        assert_eq!(delay.next(0), 0);
        assert_eq!(delay.next(1_000), 10_000);
        assert_eq!(delay.next(1_000 + 10_000 + 600_001), 0);
    }
}

//! A pod's events, each kind of news once with how often and when it came
//! (client-go/tools/record/events_cache.go).

use serde::{Deserialize, Serialize};

/// How many different events of a pod are kept; the oldest goes.
const MAX_EVENTS: usize = 256;

/// One kind of news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Whether it is a `Warning`, not `Normal`.
    pub is_warning: bool,
    /// The kubelet's word.
    pub reason: String,
    /// The text.
    pub message: String,
    /// `spec.containers{NAME}`; the pod when absent.
    pub field_path: Option<String>,
    /// How often it came.
    pub count: u64,
    /// When it came first.
    pub first: jiff::Timestamp,
    /// When it came last.
    pub last: jiff::Timestamp,
}

/// All of a pod's events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventLog {
    /// In the order in which they came last.
    pub events: Vec<EventRecord>,
}

impl EventLog {
    /// Adds one; the same news again is counted.
    pub fn add(&mut self, event: EventRecord) {
        let known = self.events.iter().position(|known| {
            known.reason == event.reason
                && known.message == event.message
                && known.field_path == event.field_path
        });
        match known {
            Some(index) => {
                let mut known = self.events.remove(index);
                known.count = known.count.saturating_add(event.count);
                known.last = event.last;
                self.events.push(known);
            }
            None => self.events.push(event),
        }
        if self.events.len() > MAX_EVENTS {
            self.events.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str, second: i64) -> EventRecord {
        let at = jiff::Timestamp::from_second(second).unwrap();
        EventRecord {
            is_warning: true,
            reason: "Unhealthy".to_owned(),
            message: message.to_owned(),
            field_path: None,
            count: 1,
            first: at,
            last: at,
        }
    }

    #[test]
    fn the_same_news_is_counted_and_the_oldest_goes() {
        let mut log = EventLog::default();
        log.add(event("a", 1));
        log.add(event("b", 2));
        log.add(event("a", 3));
        let seen: Vec<(&str, u64, i64)> = log
            .events
            .iter()
            .map(|one| (one.message.as_str(), one.count, one.last.as_second()))
            .collect();
        assert_eq!(seen, [("b", 1, 2), ("a", 2, 3)]);
        for number in 0..MAX_EVENTS {
            log.add(event(&format!("n{number}"), 4));
        }
        assert_eq!(log.events.len(), MAX_EVENTS);
        assert_eq!(log.events[0].message, "n0");
    }
}

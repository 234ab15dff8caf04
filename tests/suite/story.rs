//! The story of a pod: one file that all its containers, hooks and probes append to, so that an
//! order is a fact that can be read and not a time that was measured.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::census;
use crate::harness::{Podrun, container_with, until};

/// A container that does these words; the probe program says which there are.
pub(crate) fn does(name: &str, words: &str) -> Value {
    does_with(name, words, &json!({}))
}

/// The same with more fields.
pub(crate) fn does_with(name: &str, words: &str, fields: &Value) -> Value {
    let words: Vec<&str> = words.split(' ').collect();
    container_with(name, &words, fields)
}

/// An exec probe or hook that does these words.
pub(crate) fn exec(words: &str) -> Value {
    let command: Vec<&str> = ["/probe"].into_iter().chain(words.split(' ')).collect();
    json!({ "exec": { "command": command } })
}

/// A probe that is made every second and whose first failure counts, with more fields. A busy
/// machine is no failure.
pub(crate) fn every_second(mut probe: Value, fields: &Value) -> Value {
    probe["periodSeconds"] = 1.into();
    probe["failureThreshold"] = 1.into();
    probe["timeoutSeconds"] = 60.into();
    for (key, value) in fields.as_object().unwrap() {
        probe[key] = value.clone();
    }
    probe
}

/// The directory that is `/story` in every container of its pods.
#[derive(Debug)]
pub(crate) struct Story {
    dir: PathBuf,
}

impl Story {
    pub(crate) fn new(podrun: &Podrun) -> Self {
        let dir = podrun.files().join("story");
        fs::create_dir(&dir).unwrap();
        Self { dir }
    }

    /// A pod whose containers tell this story. Beside it they share an empty volume, `/empty`. A
    /// grace period that is not given is longer than the patience of the tests.
    pub(crate) fn pod(
        &self,
        name: &str,
        spec: &Value,
        init: &[Value],
        containers: &[Value],
    ) -> Value {
        let mounts = json!([
            { "name": "story", "mountPath": "/story" },
            { "name": "empty", "mountPath": "/empty" },
        ]);
        let with_mounts = |containers: &[Value]| -> Vec<Value> {
            let mut containers = containers.to_vec();
            for container in &mut containers {
                container["volumeMounts"] = mounts.clone();
            }
            containers
        };
        let mut whole = json!({
            "terminationGracePeriodSeconds": 600,
            "volumes": [
                { "name": "story", "hostPath": { "path": self.dir } },
                { "name": "empty", "emptyDir": {} },
            ],
            "initContainers": with_mounts(init),
            "containers": with_mounts(containers),
        });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": whole })
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("told"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.told().iter().any(|told| told == line)
    }

    #[track_caller]
    pub(crate) fn until_told(&self, line: &str) {
        until(&format!("`{line}` is told"), || self.has(line));
    }

    /// Writes a file that a container waits for.
    pub(crate) fn write(&self, name: &str, text: &str) {
        // Not seen half written.
        let new = self.dir.join(format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.join(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.dir.join(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// Fails unless these lines were told in this order; others may be between them.
    #[track_caller]
    pub(crate) fn assert_order(&self, lines: &[&str]) {
        let told = self.told();
        let mut rest = told.iter();
        for line in lines {
            assert!(
                rest.any(|told| told == line),
                "`{line}` is not in its place in {told:#?}"
            );
        }
    }

    /// Has a pod end as `rm` does, and waits until it has; its record stays.
    #[track_caller]
    pub(crate) fn end(podrun: &Podrun, name: &str) -> Value {
        for pid in census::supervisors(&podrun.root()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        podrun.until_status(name, "has ended", |status| {
            status["phase"] == "Failed" || status["phase"] == "Succeeded"
        })
    }

    /// How often a line was told.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.told().iter().filter(|told| *told == line).count()
    }
}

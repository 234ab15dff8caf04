//! Plans of pods in a few words.

use std::net::Ipv4Addr;

use podrun::names::{ContainerName, Namespace, ObjectName, PodUid};
use podrun::plan::{
    Addresses, BackOff, Console, ContainerPlan, ContainerRestart, EtcFiles, Filter, Handler, Hooks,
    Network, PLAN_VERSION, PodPlan, Probe, Probes, Resources, RestartPolicy, RestartRule,
    RestartRuleAction, Role, RootSource, SecurityPlan, TerminationMessage, UserPlan,
};

/// SIGTERM.
pub(crate) const TERM: i32 = 15;

/// A pod of these containers with the API's defaults.
pub(crate) fn pod(containers: impl IntoIterator<Item = ContainerPlan>) -> PodPlan {
    PodPlan {
        version: PLAN_VERSION,
        namespace: Namespace::new("default").unwrap(),
        name: ObjectName::new("pod").unwrap(),
        uid: PodUid::new("9e0a6a1c-0000-4000-8000-000000000001").unwrap(),
        hostname: "pod".to_owned(),
        network: Network::Pod {
            address: Ipv4Addr::new(10, 0, 0, 5),
            prefix_len: 16,
            address_v6: None,
        },
        host_pid: false,
        host_ipc: false,
        own_users: false,
        share_process_namespace: false,
        files: EtcFiles {
            hosts: String::new(),
            resolv_conf: String::new(),
            hostname: String::new(),
        },
        dns_omissions: Vec::new(),
        host_addresses: Addresses {
            v4: Ipv4Addr::new(192, 0, 2, 1),
            v6: None,
        },
        helper_filter: Filter::default(),
        sysctls: Vec::new(),
        fs_group: None,
        readiness_gates: Vec::new(),
        resources: Resources::default(),
        volumes: Vec::new(),
        containers: containers.into_iter().collect(),
        restart_policy: RestartPolicy::Always,
        termination_grace_period_seconds: 30,
        active_deadline_seconds: None,
        back_off: BackOff::default(),
        ports: Vec::new(),
    }
}

fn container(name: &str, role: Role) -> ContainerPlan {
    ContainerPlan {
        name: ContainerName::new(name).unwrap(),
        image: "image".to_owned(),
        image_id: "sha256:0".to_owned(),
        root: RootSource::Host,
        read_only_root: false,
        argv: vec!["command".to_owned()],
        env: Vec::new(),
        env_files: Vec::new(),
        working_dir: "/".to_owned(),
        user: UserPlan::default(),
        security: SecurityPlan::default(),
        resources: Resources::default(),
        oom_score_adj: 1000,
        mounts: Vec::new(),
        stop_signal: TERM,
        role,
        restart: ContainerRestart::default(),
        probes: Probes::default(),
        hooks: Hooks::default(),
        termination_message: TerminationMessage::default(),
        console: Console::default(),
        target: None,
    }
}

pub(crate) fn init(name: &str) -> ContainerPlan {
    container(name, Role::Init)
}

pub(crate) fn sidecar(name: &str) -> ContainerPlan {
    container(name, Role::Sidecar)
}

pub(crate) fn main(name: &str) -> ContainerPlan {
    container(name, Role::Main)
}

pub(crate) fn ephemeral(name: &str) -> ContainerPlan {
    container(name, Role::Ephemeral)
}

/// A command as a hook or a probe.
pub(crate) fn exec() -> Handler {
    Handler::Exec {
        command: vec!["check".to_owned()],
    }
}

/// A probe with the API's defaults.
pub(crate) fn probe() -> Probe {
    Probe {
        handler: exec(),
        initial_delay_ms: 0,
        timeout_ms: 1_000,
        period_ms: 10_000,
        success_threshold: 1,
        failure_threshold: 3,
        grace_period_ms: None,
    }
}

/// What a test says of a container.
pub(crate) trait ContainerWords: Sized {
    fn policy(self, policy: RestartPolicy) -> Self;
    fn rule(self, action: RestartRuleAction, codes: &[i32]) -> Self;
    fn rule_not_in(self, action: RestartRuleAction, codes: &[i32]) -> Self;
    fn startup(self, probe: Probe) -> Self;
    fn liveness(self, probe: Probe) -> Self;
    fn readiness(self, probe: Probe) -> Self;
    fn post_start(self, handler: Handler) -> Self;
    fn pre_stop(self, handler: Handler) -> Self;
}

impl ContainerWords for ContainerPlan {
    fn policy(mut self, policy: RestartPolicy) -> Self {
        self.restart.policy = Some(policy);
        self
    }

    fn rule(mut self, action: RestartRuleAction, codes: &[i32]) -> Self {
        self.restart.rules.push(RestartRule {
            action,
            is_negated: false,
            exit_codes: codes.to_vec(),
        });
        self
    }

    fn rule_not_in(mut self, action: RestartRuleAction, codes: &[i32]) -> Self {
        self.restart.rules.push(RestartRule {
            action,
            is_negated: true,
            exit_codes: codes.to_vec(),
        });
        self
    }

    fn startup(mut self, probe: Probe) -> Self {
        self.probes.startup = Some(probe);
        self
    }

    fn liveness(mut self, probe: Probe) -> Self {
        self.probes.liveness = Some(probe);
        self
    }

    fn readiness(mut self, probe: Probe) -> Self {
        self.probes.readiness = Some(probe);
        self
    }

    fn post_start(mut self, handler: Handler) -> Self {
        self.hooks.post_start = Some(handler);
        self
    }

    fn pre_stop(mut self, handler: Handler) -> Self {
        self.hooks.pre_stop = Some(handler);
        self
    }
}

/// What a test says of a pod.
pub(crate) trait PodWords {
    fn policy(self, policy: RestartPolicy) -> Self;
    fn grace(self, seconds: u64) -> Self;
    fn deadline(self, seconds: u64) -> Self;
}

impl PodWords for PodPlan {
    fn policy(mut self, policy: RestartPolicy) -> Self {
        self.restart_policy = policy;
        self
    }

    fn grace(mut self, seconds: u64) -> Self {
        self.termination_grace_period_seconds = seconds;
        self
    }

    fn deadline(mut self, seconds: u64) -> Self {
        self.active_deadline_seconds = Some(seconds);
        self
    }
}

//! Phase, conditions, states and events.

use podrun::lifecycle::{Event, ProbeVerdict};
use podrun::plan::RestartPolicy;

use crate::plans::{ContainerWords, PodWords, init, main, pod, probe, sidecar};
use crate::world::{Way, World};

use RestartPolicy::{Always, Never, OnFailure};

#[test]
fn a_pod_is_pending_until_all_its_containers_were_started() {
    let slow = Way {
        start_takes_ms: 3_000,
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a"), main("b")])).way("b", slow).up();
    world.until(2);
    assert_eq!(world.state("a"), "running");
    assert_eq!(world.phase(), "Pending");
    world.until(3);
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a_pod_is_pending_until_its_sidecars_are_started() {
    let way = Way {
        startup: vec![ProbeVerdict::Failure, ProbeVerdict::Success],
        ..Way::default()
    };
    let plan = pod([sidecar("s").startup(probe()), main("a")]);
    let mut world = World::of(&plan).way("s", way).up();
    assert_eq!(world.phase(), "Pending");
    assert_eq!(
        world.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [s]"
    );
    world.until(10);
    assert_eq!(world.phase(), "Running");
}

#[test]
fn the_phase_follows_the_policy_and_the_codes() {
    for (policy, codes, expected) in [
        // One runs: the others do not count.
        (Never, [Some(1), None], "Running"),
        (Never, [Some(0), None], "Running"),
        (Always, [Some(1), None], "Running"),
        // None runs.
        (Never, [Some(0), Some(0)], "Succeeded"),
        (Never, [Some(0), Some(1)], "Failed"),
        (Never, [Some(1), Some(0)], "Failed"),
        (OnFailure, [Some(0), Some(0)], "Succeeded"),
        (OnFailure, [Some(0), Some(1)], "Running"),
        (Always, [Some(0), Some(0)], "Running"),
        (Always, [Some(1), Some(1)], "Running"),
    ] {
        let way = |code: Option<i32>| Way {
            exits: vec![code.map(|code| (1_000, code))],
            ..Way::default()
        };
        let mut world = World::of(&pod([main("a"), main("b")]).policy(policy))
            .way("a", way(codes[0]))
            .way("b", way(codes[1]))
            .up();
        for second in [5, 15, 100] {
            world.until(second);
            assert_eq!(world.phase(), expected, "{policy:?} {codes:?} {second}");
        }
    }
}

#[test]
fn a_crash_loop_is_a_running_pod() {
    let mut world = World::of(&pod([main("a")])).way("a", Way::exits(0, 1)).up();
    for second in (0..1_000).step_by(7) {
        world.until(second);
        assert_eq!(world.phase(), "Running");
    }
}

fn conditions(world: &World) -> Vec<(String, String)> {
    let status = world.status();
    status
        .conditions
        .iter()
        .flatten()
        .map(|condition| {
            let kind = condition.type_.clone();
            let text = world.condition(&kind);
            (kind, text)
        })
        .collect()
}

fn expect(world: &World, expected: [(&str, &str); 5]) {
    let found = conditions(world);
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(kind, text)| (kind.as_str(), text.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn conditions_have_the_kubelets_order_reasons_and_messages() {
    let unready = "False ContainersNotReady containers with unready status: [s a b]";
    let plan = pod([init("i"), sidecar("s"), main("a"), main("b")]).policy(Never);
    let mut world = World::of(&plan)
        .way("i", Way::exits(1, 0))
        .way("a", Way::exits(10, 0))
        .way("b", Way::exits(20, 0));
    expect(
        &world,
        [
            ("PodReadyToStartContainers", "False"),
            (
                "Initialized",
                "False ContainersNotInitialized containers with incomplete status: [i s]",
            ),
            ("Ready", unready),
            ("ContainersReady", unready),
            ("PodScheduled", "True"),
        ],
    );
    world = world.up();
    world.until(5);
    expect(
        &world,
        [
            ("PodReadyToStartContainers", "True"),
            ("Initialized", "True"),
            ("Ready", "True"),
            ("ContainersReady", "True"),
            ("PodScheduled", "True"),
        ],
    );
    world.until(15);
    let unready = "False ContainersNotReady containers with unready status: [a]";
    assert_eq!(world.condition("Ready"), unready);
    assert_eq!(world.condition("ContainersReady"), unready);
    world.until(30);
    assert_eq!(world.phase(), "Succeeded");
    expect(
        &world,
        [
            ("PodReadyToStartContainers", "False"),
            ("Initialized", "True PodCompleted"),
            ("Ready", "False PodCompleted"),
            ("ContainersReady", "False PodCompleted"),
            ("PodScheduled", "True"),
        ],
    );
}

#[test]
fn a_failed_pod_is_not_ready_because_it_has_failed() {
    let mut world = World::of(&pod([main("a")]).policy(Never))
        .way("a", Way::exits(1, 1))
        .up();
    world.until(2);
    assert_eq!(world.condition("Ready"), "False PodFailed");
    assert_eq!(world.condition("ContainersReady"), "False PodFailed");
    assert_eq!(world.condition("Initialized"), "True");
}

#[test]
fn without_init_containers_a_pod_is_initialized_at_once() {
    let world = World::of(&pod([main("a")]));
    assert_eq!(world.condition("Initialized"), "True");
}

#[test]
fn a_condition_keeps_the_time_of_its_last_change() {
    let time = |world: &World, kind: &str| {
        let status = world.status();
        let mut all = status.conditions.into_iter().flatten();
        let found = all.find(|condition| condition.type_ == kind).unwrap();
        found.last_transition_time.unwrap().0
    };
    let mut world = World::of(&pod([main("a")]));
    let created = time(&world, "Ready");
    world.until(5);
    let mut world = world.up();
    let ready = time(&world, "Ready");
    assert_eq!(ready.duration_since(created).as_secs(), 5);
    assert_eq!(time(&world, "PodScheduled"), created);
    world.until(50);
    world.send(Event::Tick);
    assert_eq!(time(&world, "Ready"), ready);
}

#[test]
fn before_its_first_start_a_container_is_being_created_or_waits_for_init_containers() {
    let world = World::of(&pod([main("a")]));
    assert_eq!(world.state("a"), "waiting ContainerCreating");
    assert_eq!(world.container("a").started, Some(false));
    let world = World::of(&pod([init("i"), main("a")]));
    assert_eq!(world.state("a"), "waiting PodInitializing");
    assert_eq!(world.state("i"), "waiting PodInitializing");
}

#[test]
fn an_end_has_the_reason_of_the_kubelet() {
    for (code, oom_killed, expected) in [
        (0, false, "terminated Completed 0"),
        (1, false, "terminated Error 1"),
        (137, false, "terminated Error 137"),
        (137, true, "terminated OOMKilled 137"),
    ] {
        let mut world = World::of(&pod([main("a"), main("b")]).policy(Never)).up();
        world.send(Event::Exited {
            container: 0,
            code,
            oom_killed,
            message: Some("last words".to_owned()),
        });
        assert_eq!(world.state("a"), expected);
        let end = world.container("a").state.unwrap().terminated.unwrap();
        assert_eq!(end.message.as_deref(), Some("last words"));
        assert_eq!(end.signal, None);
        assert_eq!(end.container_id.as_deref(), Some("podrun://a-0"));
        assert!(end.started_at.is_some() && end.finished_at.is_some());
    }
}

#[test]
fn a_start_that_fails_is_an_end_with_128() {
    let broken = Way {
        failing_starts: 1,
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a")]).policy(Never))
        .way("a", broken)
        .up();
    world.until(1);
    assert_eq!(world.state("a"), "terminated StartError 128");
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.events("Failed"), ["Error: no such file"]);
}

#[test]
fn the_last_state_is_the_end_of_the_run_before() {
    let way = Way {
        exits: vec![Some((5_000, 1)), Some((5_000, 2)), None],
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a")])).way("a", way).up();
    assert_eq!(world.last_code("a"), None);
    world.until(6);
    assert_eq!(
        (world.state("a").as_str(), world.last_code("a")),
        ("running", Some(1))
    );
    world.until(12);
    assert_eq!(world.state("a"), "waiting CrashLoopBackOff");
    assert_eq!(world.last_code("a"), Some(2));
    world.until(30);
    assert_eq!(
        (world.state("a").as_str(), world.last_code("a")),
        ("running", Some(2))
    );
}

#[test]
fn started_and_ready_mean_what_the_role_says() {
    let mut world = World::of(&pod([init("i"), sidecar("s"), main("a")]))
        .way("i", Way::exits(5, 0))
        .up();
    let flags = |world: &World, name: &str| {
        let status = world.container(name);
        (status.started, status.ready)
    };
    assert_eq!(flags(&world, "i"), (Some(true), false));
    assert_eq!(flags(&world, "s"), (Some(false), false));
    assert_eq!(flags(&world, "a"), (Some(false), false));
    world.until(5);
    assert_eq!(flags(&world, "i"), (Some(false), true));
    assert_eq!(flags(&world, "s"), (Some(true), true));
    assert_eq!(flags(&world, "a"), (Some(true), true));
}

#[test]
fn a_start_and_a_stop_are_events() {
    let mut world = World::of(&pod([main("a")])).up();
    world.until(5);
    world.delete(None);
    assert_eq!(
        world.done("Normal Warning"),
        [
            "0 Normal Pulled: Container image \"image\" already present on machine",
            "0 Normal Created: Created container: a",
            "0 Normal Started: Started container a",
            "5 Normal Killing: Stopping container a"
        ]
    );
}

#[test]
fn restarting_all_containers_does_not_make_a_running_pod_pending() {
    let mut world = World::of(&pod([init("i"), main("a")]))
        .way("i", Way::exits(5, 0))
        .up();
    world.until(10);
    world.send(Event::RestartAll);
    world.until(12);
    assert_eq!(world.state("a"), "waiting PodInitializing");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a_readiness_gate_keeps_the_pod_from_being_ready_until_its_condition_is_true() {
    let mut plan = pod(vec![main("a")]);
    plan.readiness_gates = vec!["example.com/lb".to_owned()];
    let mut world = World::of(&plan).up();
    assert_eq!(
        world.condition("Ready"),
        "False ReadinessGatesNotReady corresponding condition of pod readiness gate \
         \"example.com/lb\" does not exist."
    );
    assert_eq!(world.condition("ContainersReady"), "True");
    let set = |is_true| Event::SetCondition {
        kind: "example.com/lb".to_owned(),
        is_true,
    };
    world.send(set(false));
    assert_eq!(
        world.condition("Ready"),
        "False ReadinessGatesNotReady the status of pod readiness gate \"example.com/lb\" is not \
         \"True\", but False"
    );
    world.send(set(true));
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!(world.condition("example.com/lb"), "True");
}

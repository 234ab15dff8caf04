//! What is restarted, and after how long.

use podrun::lifecycle::{Event, ProbeVerdict};
use podrun::plan::{ContainerPlan, RestartPolicy, RestartRuleAction};

use crate::plans::{ContainerWords, PodWords, init, main, pod, probe, sidecar};
use crate::world::{Way, World};

use RestartPolicy::{Always, Never, OnFailure};
use RestartRuleAction::{Restart, RestartAllContainers};

/// Whether a container starts again after this code; the other one keeps the pod.
fn restarts(policy: RestartPolicy, a: ContainerPlan, code: i32) -> bool {
    let mut world = World::of(&pod([a, main("b")]).policy(policy)).up();
    world.until(5);
    world.exit("a", code);
    world.until(6);
    world.container("a").restart_count == 1 && world.done("start").contains(&"5 start a#1")
}

#[test]
fn the_policy_and_the_code_decide() {
    for (of_pod, own, code, expected) in [
        (Always, None, 0, true),
        (Always, None, 1, true),
        (OnFailure, None, 0, false),
        (OnFailure, None, 1, true),
        (Never, None, 0, false),
        (Never, None, 1, false),
        (Never, Some(Always), 0, true),
        (Never, Some(Always), 1, true),
        (Never, Some(OnFailure), 0, false),
        (Never, Some(OnFailure), 1, true),
        (Always, Some(Never), 0, false),
        (Always, Some(Never), 1, false),
        (Always, Some(OnFailure), 0, false),
        (OnFailure, Some(Never), 1, false),
    ] {
        let mut a = main("a");
        a.restart.policy = own;
        let found = restarts(of_pod, a, code);
        assert_eq!(found, expected, "{of_pod:?} {own:?} {code}");
    }
}

#[test]
fn the_first_rule_that_fits_decides_before_the_policy() {
    for (code, expected) in [(42, true), (43, true), (1, false), (0, false)] {
        let a = main("a").policy(Never).rule(Restart, &[42, 43]);
        assert_eq!(restarts(Always, a, code), expected, "In {code}");
    }
    for (code, expected) in [(42, false), (43, false), (1, true), (0, true)] {
        let a = main("a").policy(Never).rule_not_in(Restart, &[42, 43]);
        assert_eq!(restarts(Always, a, code), expected, "NotIn {code}");
    }
    // The first that fits restarts one, the second would restart all.
    let a = main("a")
        .policy(Never)
        .rule(Restart, &[7])
        .rule(RestartAllContainers, &[7, 8]);
    assert!(restarts(Never, a.clone(), 7));
    let mut world = World::of(&pod([a, main("b")]).policy(Never)).up();
    world.until(5);
    world.exit("a", 8);
    world.until(6);
    assert_eq!(world.container("b").restart_count, 1);
}

#[test]
fn rules_hold_for_init_containers_that_fail() {
    let i = init("i").policy(Never).rule(Restart, &[42]);
    let failing = Way {
        exits: vec![Some((1_000, 42)), Some((1_000, 42)), Some((1_000, 0))],
        ..Way::default()
    };
    let mut world = World::of(&pod([i, main("a")]).policy(Never))
        .way("i", failing)
        .up();
    world.until(100);
    assert_eq!(
        world.done("start"),
        ["0 start i", "1 start i#1", "12 start i#2", "13 start a"]
    );

    let i = init("i").policy(Never).rule_not_in(Restart, &[42]);
    let mut world = World::of(&pod([i, main("a")]))
        .way("i", Way::exits(1, 0))
        .up();
    world.until(100);
    assert_eq!(world.done("start"), ["0 start i", "1 start a"]);
}

#[test]
fn a_pod_that_never_restarts_runs_on_while_one_container_may() {
    let a = main("a").policy(Always);
    let mut world = World::of(&pod([a]).policy(Never))
        .way("a", Way::exits(0, 1))
        .up();
    world.until(5);
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.state("a"), "waiting CrashLoopBackOff");
}

fn all_of(policy: RestartPolicy) -> World {
    let a = main("a").policy(Never).rule(RestartAllContainers, &[42]);
    // A sibling whose code when it is killed fits a rule of its own.
    let b = main("b").policy(Never).rule(RestartAllContainers, &[143]);
    let plan = pod([init("i"), sidecar("s"), a, b]).policy(policy);
    World::of(&plan)
        .way("i", Way::exits(1, 0))
        .way("b", Way::ends_in(3))
        .up()
}

#[test]
fn restart_all_containers_stops_all_and_begins_with_the_init_containers() {
    let mut world = all_of(Never);
    world.until(10);
    assert_eq!(world.condition("AllContainersRestarting"), "absent");
    world.exit("a", 42);
    world.until(12);
    assert_eq!(world.condition("AllContainersRestarting"), "True");
    assert_eq!(world.phase(), "Running");
    world.until(200);
    assert_eq!(
        world.done("start signal kill finish"),
        [
            "0 start i",
            "1 start s",
            "1 start a",
            "1 start b",
            "10 signal b",
            "13 signal s",
            "13 start i#1",
            "14 start s#1",
            "14 start a#1",
            "14 start b#1"
        ]
    );
    assert_eq!(world.condition("AllContainersRestarting"), "absent");
    for name in ["i", "s", "a", "b"] {
        assert_eq!(world.container(name).restart_count, 1, "{name}");
    }
    assert_eq!(world.last_code("b"), Some(143));
}

#[test]
fn restart_all_containers_works_again_with_back_off_and_makes_no_loop() {
    let mut world = all_of(Never);
    for (second, count) in [(10, 1), (100, 2), (200, 3)] {
        world.until(second);
        world.exit("a", 42);
        world.until(second + 60);
        for name in ["i", "s", "a", "b"] {
            assert_eq!(world.container(name).restart_count, count, "{name}");
        }
    }
    assert_eq!(world.phase(), "Running");
    let starts = world.done("start");
    assert!(starts.contains(&"110 start i#2"), "{starts:?}");
    assert!(starts.contains(&"220 start i#3"), "{starts:?}");
}

#[test]
fn restart_all_containers_does_nothing_in_a_pod_that_ends() {
    let mut world = all_of(Never);
    world.until(10);
    world.delete(None);
    world.send(Event::RestartAll);
    world.until(100);
    assert_eq!(world.done("start").len(), 4);
    assert_eq!(world.done("finish"), ["13 finish"]);
}

#[test]
fn a_deletion_ends_a_restart_of_all() {
    let mut world = all_of(Never);
    world.until(10);
    world.exit("a", 42);
    world.until(11);
    world.delete(None);
    world.until(100);
    assert_eq!(world.done("start").len(), 4);
    assert_eq!(world.done("finish"), ["13 finish"]);
    assert_eq!(world.condition("AllContainersRestarting"), "absent");
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn restarts_wait_0_10_20_40_80_160_300_300_seconds() {
    for code in [1, 0] {
        let mut world = World::of(&pod([main("a")]))
            .way("a", Way::exits(0, code))
            .up();
        world.until(1_000);
        assert_eq!(
            world.done("start"),
            [
                "0 start a",
                "0 start a#1",
                "10 start a#2",
                "30 start a#3",
                "70 start a#4",
                "150 start a#5",
                "310 start a#6",
                "610 start a#7",
                "910 start a#8"
            ]
        );
    }
}

#[test]
fn the_back_off_is_counted_from_the_end_of_the_run_before() {
    let mut world = World::of(&pod([main("a")])).way("a", Way::exits(5, 1)).up();
    world.until(50);
    assert_eq!(
        world.done("start"),
        ["0 start a", "5 start a#1", "20 start a#2", "45 start a#3"]
    );
}

#[test]
fn kills_for_liveness_and_failed_starts_are_backed_off_too() {
    let mut failing = probe();
    failing.failure_threshold = 1;
    let unhealthy = Way {
        liveness: vec![ProbeVerdict::Failure],
        ..Way::default()
    };
    let broken = Way {
        failing_starts: 100,
        ..Way::default()
    };
    for way in [unhealthy, broken] {
        let a = main("a").liveness(failing.clone());
        let mut world = World::of(&pod([a]).policy(OnFailure)).way("a", way).up();
        world.until(31);
        assert_eq!(
            world.done("start"),
            ["0 start a", "0 start a#1", "10 start a#2", "30 start a#3"]
        );
    }
}

#[test]
fn a_kill_for_liveness_restarts_unless_the_policy_is_never_whatever_the_code() {
    let mut failing = probe();
    failing.failure_threshold = 1;
    for (policy, message, count) in [
        (
            OnFailure,
            "Container a failed liveness probe, will be restarted",
            1,
        ),
        (
            Always,
            "Container a failed liveness probe, will be restarted",
            1,
        ),
        (Never, "Container a failed liveness probe", 0),
    ] {
        let way = Way {
            liveness: vec![ProbeVerdict::Failure],
            on_term: Some((0, 0)),
            ..Way::default()
        };
        let a = main("a").liveness(failing.clone());
        let mut world = World::of(&pod([a, main("b")]).policy(policy))
            .way("a", way)
            .up();
        world.change("a", Way::default());
        world.until(5);
        assert_eq!(world.events("Killing")[0], message);
        let found = world.container("a").restart_count;
        assert_eq!(found.min(1), count, "{policy:?}");
    }
}

#[test]
fn ten_quiet_minutes_reset_the_back_off() {
    for (quiet_ms, delay_ms) in [(600_001, 0), (600_000, 20_000)] {
        let way = Way {
            exits: vec![
                Some((0, 1)),
                Some((0, 1)),
                Some((quiet_ms, 1)),
                Some((0, 1)),
                None,
            ],
            ..Way::default()
        };
        let mut world = World::of(&pod([main("a")])).way("a", way).up();
        let end = 10_000 + quiet_ms;
        world.until_ms(end + delay_ms);
        assert_eq!(world.done("start").len(), 4, "{quiet_ms}");
        if delay_ms == 0 {
            // And then it begins again with ten seconds.
            world.until_ms(end + 9_999);
            assert_eq!(world.done("start").len(), 4);
            world.until_ms(end + 10_000);
            assert_eq!(world.done("start").len(), 5);
        } else {
            assert!(world.done("start")[3].starts_with("630 "));
        }
    }
}

#[test]
fn each_container_has_its_own_back_off() {
    let mut world = World::of(&pod([main("a"), main("b")]))
        .way("a", Way::exits(0, 1))
        .up();
    world.until(100);
    world.exit("b", 1);
    assert_eq!(world.container("b").restart_count, 1);
    assert_eq!(world.state("b"), "running");
}

#[test]
fn while_it_backs_off_a_container_waits_and_shows_its_last_end() {
    let mut world = World::of(&pod([main("a")])).way("a", Way::exits(0, 3)).up();
    world.until(15);
    assert_eq!(world.state("a"), "waiting CrashLoopBackOff");
    assert_eq!(
        world.waiting_message("a"),
        "back-off 20s restarting failed container=a \
         pod=pod_default(9e0a6a1c-0000-4000-8000-000000000001)"
    );
    assert_eq!(world.last_code("a"), Some(3));
    assert_eq!(world.container("a").restart_count, 2);
    assert_eq!(world.phase(), "Running");
    assert_eq!(
        world.events("BackOff"),
        ["Back-off restarting failed container a in pod \
             pod_default(9e0a6a1c-0000-4000-8000-000000000001)"; 2]
    );
    assert!(
        world
            .done("Warning")
            .iter()
            .any(|entry| entry.contains("BackOff"))
    );
}

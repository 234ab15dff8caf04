//! The end of containers: signal, grace period, kill.

use podrun::lifecycle::ProbeVerdict;
use podrun::plan::RestartPolicy;

use crate::plans::{ContainerWords, PodWords, exec, init, main, pod, probe};
use crate::world::{Way, World};

fn stubborn(grace: u64) -> World {
    World::of(&pod([main("a")]).grace(grace))
        .way("a", Way::ignores_term())
        .up()
}

#[test]
fn who_ignores_the_signal_is_killed_after_the_grace_period_of_the_spec() {
    let mut world = stubborn(30);
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        ["0 signal a", "30 kill a", "30 finish"]
    );
    assert_eq!(world.state("a"), "terminated Error 137");
    assert_eq!(world.events("Killing"), ["Stopping container a"]);
}

#[test]
fn the_stop_signal_is_the_plans() {
    let mut plan = pod([main("a")]);
    plan.containers[0].stop_signal = 3;
    let mut world = World::of(&plan).up();
    world.delete(None);
    assert_eq!(world.done("signal other-signal"), ["0 other-signal a"]);
}

#[test]
fn a_grace_period_of_the_deletion_counts_before_the_specs() {
    for (given, killed) in [(5, "5 kill a"), (60, "60 kill a")] {
        let mut world = stubborn(30);
        world.delete(Some(given));
        world.until(100);
        assert_eq!(world.done("kill"), [killed]);
    }
}

#[test]
fn a_probes_own_grace_period_counts_when_it_has_the_container_killed() {
    let mut failing = probe();
    failing.failure_threshold = 1;
    for (own, killed) in [(Some(4_000), "4 kill a"), (None, "30 kill a")] {
        failing.grace_period_ms = own;
        let way = Way {
            liveness: vec![ProbeVerdict::Failure],
            startup: vec![ProbeVerdict::Failure],
            ..Way::ignores_term()
        };
        for a in [
            main("a").liveness(failing.clone()),
            main("a").startup(failing.clone()),
        ] {
            let mut world = World::of(&pod([a])).way("a", way.clone()).up();
            world.until(30);
            assert_eq!(world.done("signal kill")[..2], ["0 signal a", killed]);
        }
        // Nothing else is stopped with it.
        let a = main("a").liveness(failing.clone());
        let mut world = World::of(&pod([a])).way("a", Way::ignores_term()).up();
        world.delete(None);
        world.until(100);
        assert_eq!(world.done("signal kill"), ["0 signal a", "30 kill a"]);
    }
}

#[test]
fn a_deletion_shortens_what_a_probe_has_begun() {
    let mut failing = probe();
    failing.failure_threshold = 1;
    failing.grace_period_ms = Some(60_000);
    let way = Way {
        liveness: vec![ProbeVerdict::Failure],
        ..Way::ignores_term()
    };
    let mut world = World::of(&pod([main("a").liveness(failing)]))
        .way("a", way)
        .up();
    world.until(10);
    world.delete(Some(5));
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        ["0 signal a", "15 kill a", "15 finish"]
    );
}

#[test]
fn no_grace_period_in_the_spec_still_leaves_two_seconds() {
    for grace in [0, 1] {
        let mut world = stubborn(grace);
        world.delete(None);
        world.until(100);
        assert_eq!(world.done("signal kill"), ["0 signal a", "2 kill a"]);
    }
}

#[test]
fn a_deletion_without_grace_kills_at_once() {
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a, main("b")])).up();
    world.until(5);
    world.delete(Some(0));
    assert_eq!(
        world.done("preStop signal kill finish"),
        ["5 kill a", "5 kill b", "5 finish"]
    );
}

#[test]
fn a_second_deletion_only_makes_it_quicker() {
    for (second, killed) in [
        (Some(60), "30 kill a"),
        (None, "30 kill a"),
        (Some(5), "6 kill a"),
        (Some(1), "3 kill a"),
        (Some(0), "1 kill a"),
    ] {
        let mut world = stubborn(30);
        world.delete(None);
        world.until(1);
        world.delete(second);
        world.until(100);
        assert_eq!(world.done("signal kill"), ["0 signal a", killed]);
    }
}

#[test]
fn a_second_deletion_shortens_a_pre_stop_hook() {
    let way = Way {
        pre_stop: None,
        ..Way::ignores_term()
    };
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.delete(None);
    world.until(2);
    world.delete(Some(5));
    world.until(100);
    assert_eq!(
        world.done("preStop signal kill"),
        ["0 preStop a", "7 signal a", "9 kill a"]
    );
}

#[test]
fn a_container_on_its_way_is_stopped_when_it_has_started() {
    let slow = Way {
        start_takes_ms: 4_000,
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a"), main("b")])).way("a", slow).up();
    world.until(1);
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("start signal kill finish"),
        ["0 start a", "4 signal a", "4 finish"]
    );
}

#[test]
fn nothing_starts_again_in_a_pod_that_is_deleted() {
    let mut world = World::of(&pod([main("a"), main("b")]))
        .way("a", Way::exits(0, 1))
        .way("b", Way::ends_in(20))
        .up();
    world.until(5);
    assert_eq!(world.state("a"), "waiting CrashLoopBackOff");
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("start"),
        ["0 start a", "0 start b", "0 start a#1"]
    );
    assert_eq!(world.done("finish"), ["25 finish"]);
}

#[test]
fn a_pod_that_is_deleted_before_it_has_a_sandbox_is_over_at_once() {
    let mut world = World::of(&pod([main("a")]));
    world.delete(None);
    assert_eq!(world.done("start finish"), ["0 finish"]);
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn while_a_pod_ends_only_readiness_is_probed_and_can_turn_false() {
    let way = Way {
        readiness: vec![
            ProbeVerdict::Success,
            ProbeVerdict::Success,
            ProbeVerdict::Failure,
        ],
        ..Way::ignores_term()
    };
    let mut once = probe();
    once.failure_threshold = 1;
    let a = main("a").readiness(once.clone()).liveness(once.clone());
    let starting = Way {
        startup: vec![ProbeVerdict::Failure],
        ..Way::ignores_term()
    };
    let b = main("b").startup(probe());
    let mut world = World::of(&pod([a, b]).grace(60))
        .way("a", way)
        .way("b", starting)
        .up();
    world.until(5);
    world.delete(None);
    world.until(15);
    assert!(world.container("a").ready);
    world.until(25);
    assert!(!world.container("a").ready);
    assert_eq!(
        world.condition("Ready"),
        "False ContainersNotReady containers with unready status: [a b]"
    );
    world.until(100);
    assert_eq!(world.done("liveness"), ["0 liveness a"]);
    assert_eq!(world.done("startup"), ["0 startup b"]);
    assert_eq!(world.done("readiness").len(), 7);
}

#[test]
fn the_last_phase_is_succeeded_when_all_codes_are_zero_whatever_the_policy() {
    for policy in [
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ] {
        for (code, phase) in [(0, "Succeeded"), (143, "Failed")] {
            let way = Way {
                on_term: Some((1_000, code)),
                ..Way::default()
            };
            let plan = pod([init("i"), main("a"), main("b")]).policy(policy);
            let mut world = World::of(&plan)
                .way("i", Way::exits(0, 0))
                .way("a", way)
                .way(
                    "b",
                    Way {
                        on_term: Some((0, 0)),
                        ..Way::default()
                    },
                )
                .up();
            world.until(5);
            world.delete(None);
            assert_eq!(world.phase(), "Running");
            world.until(10);
            assert_eq!(world.phase(), phase, "{policy:?} {code}");
        }
    }
}

#[test]
fn a_second_deletion_does_not_slow_down_what_is_still_to_be_stopped() {
    let slow = Way {
        start_takes_ms: 4_000,
        ..Way::ignores_term()
    };
    let mut world = World::of(&pod([main("a")])).way("a", slow).up();
    world.delete(Some(5));
    world.until(1);
    world.delete(Some(60));
    world.until(100);
    assert_eq!(world.done("signal kill"), ["4 signal a", "9 kill a"]);
}

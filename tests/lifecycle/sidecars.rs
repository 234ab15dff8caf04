//! Restartable init containers: when the next starts, and the order in which they end.

use podrun::lifecycle::ProbeVerdict;
use podrun::plan::RestartPolicy;

use crate::plans::{ContainerWords, PodWords, exec, init, main, pod, probe, sidecar};
use crate::world::{Way, World};

#[test]
fn the_next_container_waits_for_the_startup_probe_and_not_for_readiness_or_liveness() {
    let way = Way {
        startup: vec![ProbeVerdict::Failure, ProbeVerdict::Success],
        readiness: vec![ProbeVerdict::Failure],
        liveness: vec![ProbeVerdict::Failure],
        ..Way::default()
    };
    let s = sidecar("s")
        .startup(probe())
        .readiness(probe())
        .liveness(probe());
    let mut world = World::of(&pod([s, init("i"), main("a")]))
        .way("s", way)
        .way("i", Way::exits(1, 0))
        .up();
    world.until(9);
    assert_eq!(world.phase(), "Pending");
    assert_eq!(world.container("s").started, Some(false));
    world.until(15);
    assert_eq!(
        world.done("start"),
        ["0 start s", "10 start i", "11 start a"]
    );
    assert_eq!(world.container("s").started, Some(true));
    assert!(!world.container("s").ready);
    assert_eq!(
        world.condition("Ready"),
        "False ContainersNotReady containers with unready status: [s]"
    );
}

#[test]
fn a_sidecar_without_startup_probe_is_through_when_it_runs_and_its_hook_has_ended() {
    let way = Way {
        post_start: Some((4_000, None)),
        ..Way::default()
    };
    let s = sidecar("s").post_start(exec());
    let mut world = World::of(&pod([s, main("a")])).way("s", way).up();
    world.until(10);
    assert_eq!(world.done("start"), ["0 start s", "4 start a"]);
}

#[test]
fn a_sidecar_restarts_whatever_its_code_and_the_policy_of_the_pod() {
    for policy in [RestartPolicy::Never, RestartPolicy::OnFailure] {
        let plan = pod([sidecar("s"), main("a")]).policy(policy);
        let mut world = World::of(&plan)
            .way("s", Way::exits_at_once_with(&[0, 0, 1]))
            .up();
        world.until(100);
        assert_eq!(
            world.done("start"),
            [
                "0 start s",
                "0 start a",
                "0 start s#1",
                "10 start s#2",
                "30 start s#3"
            ]
        );
    }
}

#[test]
fn a_sidecar_restarts_while_a_later_init_container_runs() {
    let plan = pod([sidecar("s"), init("i"), main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan).way("i", Way::exits(60, 0)).up();
    world.until(5);
    world.exit("s", 0);
    world.until(100);
    assert_eq!(
        world.done("start"),
        ["0 start s", "0 start i", "5 start s#1", "60 start a"]
    );
}

#[test]
fn a_failed_startup_probe_restarts_a_sidecar_and_the_next_goes_on_waiting() {
    let way = Way {
        startup: vec![ProbeVerdict::Failure],
        ..Way::default()
    };
    let mut failing = probe();
    failing.failure_threshold = 2;
    let plan = pod([sidecar("s").startup(failing), main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan).way("s", way).up();
    world.until(11);
    world.change("s", Way::default());
    world.until(60);
    // The first restart comes at once; by then it is well.
    assert_eq!(
        world.done("signal start"),
        ["0 start s", "10 signal s", "10 start s#1", "20 start a"]
    );
    let killing = world.events("Killing");
    assert_eq!(
        killing,
        ["Container s failed startup probe, will be restarted"]
    );
}

#[test]
fn a_pod_completes_although_its_sidecars_run_and_their_codes_do_not_count() {
    let plan = pod([sidecar("s"), main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan)
        .way("a", Way::exits(5, 0))
        .way("s", Way::ends_in(3))
        .up();
    world.until(7);
    assert_eq!(world.phase(), "Running");
    world.until(100);
    assert_eq!(world.done("signal finish"), ["5 signal s", "8 finish"]);
    assert_eq!(world.state("s"), "terminated Error 143");
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn a_sidecar_that_waits_for_its_back_off_does_not_keep_the_pod() {
    let plan = pod([sidecar("s"), main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan)
        .way("s", Way::exits(0, 1))
        .way("a", Way::exits(5, 0))
        .up();
    world.until(100);
    assert_eq!(world.done("finish"), ["5 finish"]);
    assert_eq!(world.phase(), "Succeeded");
    assert_eq!(world.state("s"), "terminated Error 1");
}

#[test]
fn a_failed_init_container_ends_the_sidecars_too() {
    let plan = pod([sidecar("s"), init("i"), main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan)
        .way("i", Way::exits(5, 1))
        .way("s", Way::ends_in(2))
        .up();
    world.until(100);
    assert_eq!(world.done("signal finish"), ["5 signal s", "7 finish"]);
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn without_sidecars_all_containers_stop_at_once() {
    let mut world = World::of(&pod([main("a"), main("b")]))
        .way("a", Way::ends_in(5))
        .up();
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("signal finish"),
        ["0 signal a", "0 signal b", "5 finish"]
    );
}

#[test]
fn sidecars_stop_after_the_containers_in_reverse_order() {
    let mut world = World::of(&pod([sidecar("s"), sidecar("t"), main("a"), main("b")]))
        .way("a", Way::ends_in(5))
        .way("t", Way::ends_in(3))
        .up();
    world.until(10);
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        [
            "10 signal a",
            "10 signal b",
            "15 signal t",
            "18 signal s",
            "18 finish"
        ]
    );
}

#[test]
fn pre_stop_hooks_of_all_begin_at_once() {
    let way = || Way {
        pre_stop: Some((2_000, None)),
        ..Way::default()
    };
    let hooked = |plan: podrun::plan::ContainerPlan| plan.pre_stop(exec());
    let plan = pod([
        hooked(sidecar("s")),
        hooked(sidecar("t")),
        hooked(main("a")),
    ]);
    let mut world = World::of(&plan)
        .way("s", way())
        .way("t", way())
        .way("a", way())
        .up();
    world.until(10);
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("preStop signal finish"),
        [
            "10 preStop s",
            "10 preStop t",
            "10 preStop a",
            "12 signal a",
            "12 signal t",
            "12 signal s",
            "12 finish"
        ]
    );
}

#[test]
fn what_a_sidecar_waits_is_taken_off_its_grace_period() {
    let mut world = World::of(&pod([sidecar("s"), main("a")]).grace(10))
        .way("a", Way::ends_in(7))
        .way("s", Way::ignores_term())
        .up();
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        ["0 signal a", "7 signal s", "10 kill s", "10 finish"]
    );
}

#[test]
fn a_sidecars_hook_and_its_waiting_are_both_taken_off_in_whole_seconds() {
    let s = sidecar("s").pre_stop(exec());
    let way = Way {
        pre_stop: Some((4_500, None)),
        ..Way::ignores_term()
    };
    let mut world = World::of(&pod([s, main("a")]).grace(20))
        .way("a", Way::ends_in(7))
        .way("s", way)
        .up();
    world.delete(None);
    world.until(100);
    // 20 less 4 of the hook (4.5), less 2 of the wait (2.5): 14 are left at 7.
    assert_eq!(
        world.done("preStop signal kill"),
        ["0 preStop s", "0 signal a", "7 signal s", "21 kill s"]
    );
}

#[test]
fn a_sidecar_stops_waiting_when_its_grace_period_is_over_and_has_two_seconds() {
    let mut world = World::of(&pod([sidecar("s"), main("a")]).grace(10))
        .way("a", Way::ignores_term())
        .way("s", Way::ignores_term())
        .up();
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        [
            "0 signal a",
            "10 signal s",
            "10 kill a",
            "12 kill s",
            "12 finish"
        ]
    );
}

#[test]
fn an_init_container_is_stopped_like_a_main_one_and_no_sidecar_waits_for_it() {
    let mut world = World::of(&pod([sidecar("s"), init("i"), main("a")]).grace(10))
        .way("i", Way::ignores_term())
        .up();
    world.until(3);
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        ["3 signal s", "3 signal i", "13 kill i", "13 finish"]
    );
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn a_sidecar_that_fails_its_liveness_probe_does_not_wait_for_the_containers() {
    let mut failing = probe();
    failing.failure_threshold = 1;
    let way = Way {
        liveness: vec![ProbeVerdict::Success, ProbeVerdict::Failure],
        ..Way::default()
    };
    let plan = pod([sidecar("s").liveness(failing), main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan).way("s", way).up();
    world.until(11);
    assert_eq!(world.done("signal"), ["10 signal s"]);
    assert_eq!(
        world.done("start"),
        ["0 start s", "0 start a", "10 start s#1"]
    );
}

//! The start of a pod, and its init containers.

use podrun::lifecycle::ProbeVerdict;
use podrun::plan::{Handler, RestartPolicy};

use crate::plans::{ContainerWords, PodWords, ephemeral, exec, init, main, pod, probe};
use crate::world::{Way, World};

#[test]
fn nothing_starts_before_the_sandbox_is_ready() {
    let mut world = World::of(&pod([main("a")]));
    world.until(100);
    assert!(world.done("start").is_empty());
    assert_eq!(world.condition("PodReadyToStartContainers"), "False");
    let world = world.up();
    assert_eq!(world.done("start"), ["100 start a"]);
    assert_eq!(world.condition("PodReadyToStartContainers"), "True");
}

#[test]
fn containers_start_in_order_each_when_the_one_before_has_started() {
    let slow = Way {
        start_takes_ms: 3_000,
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a"), main("b"), main("c")]))
        .way("a", slow)
        .up();
    world.until(10);
    assert_eq!(world.done("start"), ["0 start a", "3 start b", "3 start c"]);
}

#[test]
fn readiness_of_a_container_is_not_waited_for() {
    let unready = Way {
        readiness: vec![ProbeVerdict::Failure],
        startup: vec![ProbeVerdict::Failure],
        ..Way::default()
    };
    let a = main("a").readiness(probe()).startup(probe());
    let world = World::of(&pod([a, main("b")])).way("a", unready).up();
    assert_eq!(world.done("start"), ["0 start a", "0 start b"]);
}

#[test]
fn a_container_that_cannot_start_does_not_hold_up_the_next() {
    let broken = Way {
        failing_starts: 100,
        ..Way::default()
    };
    let world = World::of(&pod([main("a"), main("b")]))
        .way("a", broken)
        .up();
    let mut started = world.done("start");
    started.truncate(2);
    assert_eq!(started, ["0 start a", "0 start b"]);
    assert_eq!(world.state("b"), "running");
}

#[test]
fn a_container_that_exits_does_not_hold_up_the_next() {
    let failing = Way::exits(0, 1);
    let a = main("a").post_start(exec());
    let mut world = World::of(&pod([a, main("b")])).way("a", failing).up();
    world.until(5);
    assert_eq!(
        world.done("start"),
        ["0 start a", "0 start b", "0 start a#1"]
    );
}

#[test]
fn a_post_start_hook_delays_the_next_container() {
    let slow = Way {
        post_start: Some((5_000, None)),
        ..Way::default()
    };
    let a = main("a").post_start(exec());
    let mut world = World::of(&pod([a, main("b")])).way("a", slow).up();
    world.until(10);
    assert_eq!(world.done("start"), ["0 start a", "5 start b"]);

    let a = main("a").post_start(Handler::Sleep { seconds: 7 });
    let mut world = World::of(&pod([a, main("b")])).up();
    world.until(10);
    assert_eq!(world.done("start"), ["0 start a", "7 start b"]);
    assert!(world.done("postStart").is_empty());
}

#[test]
fn a_failed_post_start_hook_does_not_stop_the_next_container() {
    let failing = Way {
        post_start: Some((1_000, Some("exit code 1"))),
        ..Way::ends_in(2)
    };
    let a = main("a").post_start(exec());
    let mut world = World::of(&pod([a, main("b")])).way("a", failing).up();
    world.until(3);
    assert_eq!(
        world.done("start"),
        ["0 start a", "3 start b", "3 start a#1"]
    );
}

#[test]
fn init_containers_run_one_after_the_other_before_the_containers() {
    let mut world = World::of(&pod([init("i"), init("j"), main("a")]))
        .way("i", Way::exits(2, 0))
        .way("j", Way::exits(3, 0))
        .up();
    world.until(100);
    assert_eq!(world.done("start"), ["0 start i", "2 start j", "5 start a"]);
}

#[test]
fn a_failed_init_container_is_tried_again_with_back_off_and_earlier_ones_are_not() {
    for policy in [RestartPolicy::Always, RestartPolicy::OnFailure] {
        let failing = Way {
            exits: vec![Some((0, 1)), Some((0, 2)), Some((0, 3)), Some((0, 0))],
            ..Way::default()
        };
        let plan = pod([init("i"), init("j"), main("a")]).policy(policy);
        let mut world = World::of(&plan)
            .way("i", Way::exits(0, 0))
            .way("j", failing)
            .up();
        world.until(29);
        assert_eq!(world.phase(), "Pending");
        world.until(100);
        assert_eq!(
            world.done("start"),
            [
                "0 start i",
                "0 start j",
                "0 start j#1",
                "10 start j#2",
                "30 start j#3",
                "30 start a"
            ],
            "{policy:?}"
        );
        assert_eq!(world.container("j").restart_count, 3);
    }
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let never = pod([init("i"), main("a")]).policy(RestartPolicy::Never);
    let of_its_own = pod([init("i").policy(RestartPolicy::Never), main("a")]);
    for plan in [never, of_its_own] {
        let mut world = World::of(&plan).way("i", Way::exits(4, 7)).up();
        world.until(100);
        assert_eq!(world.done("start finish"), ["0 start i", "4 finish"]);
        assert_eq!(world.phase(), "Failed");
        assert_eq!(world.state("i"), "terminated Error 7");
        assert_eq!(world.state("a"), "waiting PodInitializing");
    }
}

#[test]
fn while_init_containers_run_the_pod_is_pending_and_not_initialized() {
    let mut world = World::of(&pod([init("i"), init("j"), main("a")]))
        .way("i", Way::exits(2, 0))
        .way("j", Way::exits(3, 0))
        .up();
    assert_eq!(world.phase(), "Pending");
    assert_eq!(
        world.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [i j]"
    );
    assert_eq!(world.state("a"), "waiting PodInitializing");
    world.until(3);
    assert_eq!(
        world.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [j]"
    );
    assert!(world.container("i").ready);
    world.until(5);
    assert_eq!(world.condition("Initialized"), "True");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn when_a_container_crashes_init_containers_do_not_run_again() {
    let mut world = World::of(&pod([init("i"), main("a"), main("b")]))
        .way("i", Way::exits(0, 0))
        .up();
    world.until(50);
    world.exit("a", 1);
    world.until(100);
    let expected = ["0 start i", "0 start a", "0 start b", "50 start a#1"];
    assert_eq!(world.done("start"), expected);
}

#[test]
fn an_ephemeral_container_is_never_restarted_and_counts_for_nothing() {
    let plan = pod([main("a")]).policy(RestartPolicy::OnFailure);
    let mut world = World::of(&plan).way("debug", Way::exits(2, 1)).up();
    world.until(5);
    world.debug(ephemeral("debug"));
    assert_eq!(world.state("debug"), "running");
    assert_eq!(world.condition("Ready"), "True");
    world.until(10);
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!(world.state("debug"), "terminated Error 1");
    world.until(500);
    world.exit("a", 0);
    assert_eq!(
        world.done("start finish"),
        ["0 start a", "5 start debug", "500 finish"]
    );
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn an_ephemeral_container_does_not_keep_a_pod_that_is_done() {
    let plan = pod([main("a")]).policy(RestartPolicy::Never);
    let mut world = World::of(&plan).way("debug", Way::ends_in(3)).up();
    world.debug(ephemeral("debug"));
    world.until(5);
    world.exit("a", 0);
    world.until(100);
    assert_eq!(world.done("signal finish"), ["5 signal debug", "8 finish"]);
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn an_ephemeral_container_waits_for_the_sandbox() {
    let mut world = World::of(&pod([main("a")]));
    world.debug(ephemeral("debug"));
    world.until(5);
    assert!(world.done("start").is_empty());
    let world = world.up();
    assert_eq!(world.done("start"), ["5 start debug", "5 start a"]);
}

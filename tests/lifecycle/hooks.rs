//! postStart and preStop.

use podrun::lifecycle::{Event, Hook, ProbeVerdict};
use podrun::plan::{Handler, RestartPolicy};

use crate::plans::{ContainerWords, PodWords, exec, main, pod, probe};
use crate::world::{Way, World};

#[test]
fn a_failed_post_start_hook_has_the_container_killed_with_its_pre_stop_hook() {
    let way = Way {
        post_start: Some((1_000, Some("exit code 1"))),
        ..Way::ends_in(2)
    };
    let a = main("a").post_start(exec()).pre_stop(exec());
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(2);
    assert_eq!(world.state("a"), "waiting PostStartHookError");
    assert_eq!(world.container("a").started, Some(false));
    world.until(4);
    assert_eq!(
        world.done("start postStart preStop signal"),
        [
            "0 start a",
            "0 postStart a",
            "1 preStop a",
            "1 signal a",
            "3 start a#1",
            "3 postStart a",
            "4 preStop a",
            "4 signal a"
        ]
    );
    assert!(world.events("FailedPostStartHook")[0].starts_with("PostStartHook failed"));
    assert!(
        world
            .done("Warning")
            .iter()
            .any(|entry| entry.starts_with("1 Warning FailedPostStartHook"))
    );
}

#[test]
fn after_a_failed_post_start_hook_the_restart_policy_decides_by_the_exit_code() {
    for (policy, code, restarts) in [
        (RestartPolicy::Always, 0, true),
        (RestartPolicy::OnFailure, 0, false),
        (RestartPolicy::OnFailure, 143, true),
        (RestartPolicy::Never, 143, false),
    ] {
        let way = Way {
            post_start: Some((1_000, Some("exit code 1"))),
            on_term: Some((0, code)),
            ..Way::default()
        };
        let a = main("a").post_start(exec());
        let mut world = World::of(&pod([a]).policy(policy)).way("a", way).up();
        world.until(2);
        let started = world.done("start").len();
        assert_eq!(started == 2, restarts, "{policy:?} {code}");
    }
}

#[test]
fn a_container_is_neither_started_nor_ready_until_its_post_start_hook_has_ended() {
    let way = Way {
        post_start: Some((5_000, None)),
        ..Way::default()
    };
    let a = main("a")
        .post_start(exec())
        .readiness(probe())
        .liveness(probe());
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(4);
    assert_eq!(world.container("a").started, Some(false));
    assert!(!world.container("a").ready);
    assert_eq!(world.state("a"), "waiting ContainerCreating");
    assert_eq!(world.phase(), "Pending");
    assert!(world.done("readiness liveness").is_empty());
    world.until(5);
    assert_eq!(world.container("a").started, Some(true));
    assert!(world.container("a").ready);
    assert_eq!(world.state("a"), "running");
}

#[test]
fn a_post_start_hook_has_no_time_limit() {
    let way = Way {
        post_start: None,
        ..Way::default()
    };
    let a = main("a").post_start(exec());
    let mut world = World::of(&pod([a, main("b")])).way("a", way).up();
    world.until(86_400);
    assert_eq!(world.done("start signal kill"), ["0 start a"]);
}

#[test]
fn a_pre_stop_hook_is_bounded_by_the_grace_period_and_two_seconds_are_left() {
    let way = Way {
        pre_stop: None,
        ..Way::ignores_term()
    };
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a]).grace(10)).way("a", way).up();
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("preStop signal kill finish"),
        ["0 preStop a", "10 signal a", "12 kill a", "12 finish"]
    );
}

#[test]
fn what_a_pre_stop_hook_takes_is_taken_off_in_whole_seconds() {
    let way = Way {
        pre_stop: Some((3_700, None)),
        ..Way::ignores_term()
    };
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a]).grace(10)).way("a", way).up();
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("preStop signal kill"),
        ["0 preStop a", "3.700 signal a", "10.700 kill a"]
    );
}

#[test]
fn a_sleep_waits_in_the_pre_stop_hook() {
    let a = main("a").pre_stop(Handler::Sleep { seconds: 5 });
    let mut world = World::of(&pod([a]).grace(10))
        .way("a", Way::ignores_term())
        .up();
    world.delete(None);
    world.until(100);
    assert_eq!(
        world.done("preStop signal kill"),
        ["5 signal a", "10 kill a"]
    );
}

#[test]
fn a_failed_pre_stop_hook_is_an_event_and_the_stop_goes_on() {
    let way = Way {
        pre_stop: Some((1_000, Some("exit code 1"))),
        ..Way::default()
    };
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.delete(None);
    world.until(100);
    assert_eq!(world.done("signal finish"), ["1 signal a", "1 finish"]);
    let failures = world.events("FailedPreStopHook");
    assert_eq!(failures.len(), 1);
    assert!(failures[0].starts_with("PreStopHook failed"));
}

#[test]
fn a_pre_stop_hook_does_not_run_when_the_container_exits_by_itself() {
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a])).way("a", Way::exits(5, 1)).up();
    world.until(100);
    assert!(world.done("preStop").is_empty());
}

#[test]
fn a_pre_stop_hook_does_not_run_without_a_grace_period() {
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a]).grace(0)).up();
    world.delete(None);
    assert_eq!(
        world.done("preStop signal finish"),
        ["0 signal a", "0 finish"]
    );
}

#[test]
fn a_pre_stop_hook_runs_before_a_kill_for_liveness_and_on_eviction() {
    let mut failing = probe();
    failing.failure_threshold = 1;
    let way = Way {
        liveness: vec![ProbeVerdict::Failure],
        pre_stop: Some((3_000, None)),
        ..Way::default()
    };
    let a = main("a").pre_stop(exec()).liveness(failing);
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(3);
    assert_eq!(
        world.done("preStop signal")[..2],
        ["0 preStop a", "3 signal a"]
    );

    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a])).up();
    world.until(5);
    world.send(Event::Evict {
        message: "too much".to_owned(),
    });
    assert_eq!(world.done("preStop"), ["5 preStop a"]);
}

#[test]
fn a_pre_stop_hook_runs_once_however_often_the_pod_is_deleted() {
    let way = Way {
        pre_stop: Some((3_000, None)),
        ..Way::default()
    };
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([a])).way("a", way).up();
    for second in 0..3 {
        world.until(second);
        world.delete(Some(20));
    }
    world.until(100);
    assert_eq!(world.done("preStop signal"), ["0 preStop a", "3 signal a"]);
}

#[test]
fn an_answer_that_nobody_waits_for_ends_no_sleep() {
    let sleep = || Handler::Sleep { seconds: 5 };
    let a = main("a").post_start(sleep()).pre_stop(sleep());
    let mut world = World::of(&pod([a, main("b")])).up();
    world.until(1);
    for failure in [None, Some("failed".to_owned())] {
        world.send(Event::HookEnded {
            run: world.run("a", 0),
            hook: Hook::PostStart,
            failure,
        });
    }
    world.until(10);
    world.delete(None);
    world.until(11);
    world.send(Event::HookEnded {
        run: world.run("a", 0),
        hook: Hook::PreStop,
        failure: None,
    });
    world.until(100);
    assert_eq!(
        world.done("start signal kill"),
        ["0 start a", "5 start b", "10 signal b", "15 signal a"]
    );
}

#[test]
fn an_answer_for_an_earlier_run_is_none_for_the_hook_of_this_one() {
    let silent = Way {
        post_start: None,
        ..Way::default()
    };
    let a = main("a").post_start(exec());
    let mut world = World::of(&pod([a])).way("a", silent).up();
    world.until(3);
    world.exit("a", 1);
    for (attempt, started) in [(0, false), (1, true)] {
        world.send(Event::HookEnded {
            run: world.run("a", attempt),
            hook: Hook::PostStart,
            failure: None,
        });
        assert_eq!(world.container("a").started, Some(started));
    }
}

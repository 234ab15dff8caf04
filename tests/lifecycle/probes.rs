//! When probes are made, and what their results add up to.

use podrun::lifecycle::ProbeVerdict::{self, Failure, Success, Unknown, Warning};
use podrun::lifecycle::{Event, ProbeKind};
use podrun::plan::Probe;

use crate::plans::{ContainerWords, exec, main, pod, probe};
use crate::world::{Way, World};

/// A container whose readiness probe finds these, one after the other.
fn readiness(probe: Probe, found: &[ProbeVerdict]) -> World {
    let way = Way {
        readiness: found.to_vec(),
        ..Way::default()
    };
    World::of(&pod([main("a").readiness(probe)]))
        .way("a", way)
        .up()
}

fn thresholds(success: u32, failure: u32) -> Probe {
    let mut probe = probe();
    probe.success_threshold = success;
    probe.failure_threshold = failure;
    probe
}

/// Whether the container is ready after each of the first probes.
fn ready_after_each(world: &mut World, probes: u64) -> Vec<bool> {
    (0..probes)
        .map(|number| {
            world.until(number * 10 + 5);
            world.container("a").ready
        })
        .collect()
}

#[test]
fn the_first_probe_is_made_at_once_or_after_the_initial_delay_and_then_every_period() {
    let mut world = readiness(probe(), &[Success]);
    world.until(25);
    assert_eq!(
        world.done("readiness"),
        ["0 readiness a", "10 readiness a", "20 readiness a"]
    );
    let mut late = probe();
    late.initial_delay_ms = 7_000;
    late.period_ms = 3_000;
    let mut world = readiness(late, &[Success]);
    world.until(15);
    assert_eq!(
        world.done("readiness"),
        ["7 readiness a", "10 readiness a", "13 readiness a"]
    );
}

#[test]
fn the_initial_delay_begins_with_the_container_and_not_with_the_end_of_its_hook() {
    let mut late = probe();
    late.initial_delay_ms = 7_000;
    let way = Way {
        post_start: Some((5_000, None)),
        ..Way::default()
    };
    let a = main("a").post_start(exec()).readiness(late);
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(10);
    assert_eq!(world.done("readiness"), ["7 readiness a"]);
}

#[test]
fn before_its_first_success_a_container_with_a_readiness_probe_is_not_ready() {
    let mut late = probe();
    late.initial_delay_ms = 7_000;
    let mut world = readiness(late, &[Success]);
    world.until(6);
    assert!(!world.container("a").ready);
    assert_eq!(world.container("a").started, Some(true));
    assert_eq!(world.phase(), "Running");
    world.until(7);
    assert!(world.container("a").ready);
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!(world.condition("ContainersReady"), "True");
}

#[test]
fn thresholds_count_results_in_a_row_and_an_opposite_one_begins_anew() {
    let found = [
        Success, Failure, Success, Success, // ready
        Failure, Success, Failure, Failure, // still
        Failure, // not any more
        Success, Success, // again
    ];
    let mut world = readiness(thresholds(2, 3), &found);
    assert_eq!(
        ready_after_each(&mut world, 11),
        [
            false, false, false, true, true, true, true, true, false, false, true
        ]
    );
    assert_eq!(world.container("a").restart_count, 0);
    assert_eq!(
        world.events("Unhealthy"),
        ["Readiness probe failed: output"; 5]
    );
}

#[test]
fn a_probe_that_cannot_be_made_is_tried_three_times_and_then_counts_for_nothing() {
    let found = [Success, Unknown, Unknown, Success];
    let mut world = readiness(thresholds(1, 1), &found);
    world.until(15);
    assert!(world.container("a").ready);
    assert_eq!(world.done("readiness").len(), 4);

    // Three times in vain, in the middle of a row of failures.
    let found = [
        Success, Failure, Unknown, Unknown, Unknown, Failure, Failure,
    ];
    let mut world = readiness(thresholds(1, 2), &found);
    assert_eq!(ready_after_each(&mut world, 4), [true, true, true, false]);
    let errored = world
        .events("Unhealthy")
        .into_iter()
        .filter(|text| text.starts_with("Readiness probe errored"))
        .count();
    assert_eq!(errored, 1);
    assert_eq!(
        world.done("readiness")[2..5],
        ["20 readiness a", "20 readiness a", "20 readiness a"]
    );
}

#[test]
fn a_warning_is_a_success_with_an_event() {
    let world = readiness(probe(), &[Warning]);
    assert!(world.container("a").ready);
    assert_eq!(world.events("ProbeWarning").len(), 1);
}

#[test]
fn until_the_startup_probe_has_succeeded_no_other_is_made_and_then_all_are_at_once() {
    let mut slow = probe();
    slow.period_ms = 30_000;
    let way = Way {
        startup: vec![Failure, Failure, Success],
        ..Way::default()
    };
    let mut often = probe();
    often.period_ms = 4_000;
    let a = main("a")
        .startup(often)
        .readiness(slow.clone())
        .liveness(slow);
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(7);
    assert_eq!(world.container("a").started, Some(false));
    assert_eq!(world.state("a"), "running");
    world.until(20);
    assert_eq!(
        world.done("startup readiness liveness"),
        [
            "0 startup a",
            "4 startup a",
            "8 startup a",
            "8 liveness a",
            "8 readiness a"
        ]
    );
    assert_eq!(world.container("a").started, Some(true));
    assert!(world.container("a").ready);
}

#[test]
fn a_container_whose_startup_probe_fails_too_often_is_killed_and_restarted() {
    let way = Way {
        startup: vec![Failure],
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a").startup(probe())]))
        .way("a", way)
        .up();
    world.until(21);
    assert_eq!(
        world.done("start startup signal"),
        [
            "0 start a",
            "0 startup a",
            "10 startup a",
            "20 startup a",
            "20 signal a",
            "20 start a#1",
            "20 startup a"
        ]
    );
    assert_eq!(
        world.events("Unhealthy")[..3],
        ["Startup probe failed: output"; 3]
    );
}

#[test]
fn a_container_whose_liveness_probe_fails_in_a_row_is_killed_and_restarted() {
    let way = Way {
        liveness: vec![
            Success, Failure, Failure, Success, Failure, Failure, Failure,
        ],
        ..Way::ends_in(2)
    };
    let a = main("a").liveness(probe()).readiness(probe());
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(63);
    assert_eq!(
        world.done("start signal"),
        ["0 start a", "60 signal a", "62 start a#1"]
    );
    assert_eq!(
        world.events("Killing"),
        ["Container a failed liveness probe, will be restarted"]
    );
    // It is on hold between the kill and the next run.
    assert_eq!(
        world.done("liveness")[6..],
        ["60 liveness a", "62 liveness a"]
    );
}

#[test]
fn a_failed_readiness_probe_never_kills() {
    let mut world = readiness(thresholds(1, 1), &[Failure]);
    world.until(1_000);
    assert_eq!(world.done("start signal kill"), ["0 start a"]);
    assert_eq!(world.phase(), "Running");
}

#[test]
fn results_of_an_earlier_run_change_nothing() {
    let way = Way {
        readiness: vec![Failure],
        ..Way::default()
    };
    let mut quick = thresholds(1, 1);
    quick.initial_delay_ms = 5_000;
    let a = main("a").readiness(quick.clone()).liveness(quick);
    let mut world = World::of(&pod([a])).way("a", way).up();
    world.until(3);
    world.exit("a", 1);
    assert_eq!(world.container("a").restart_count, 1);
    for (probe, verdict) in [
        (ProbeKind::Readiness, Success),
        (ProbeKind::Liveness, Failure),
    ] {
        for attempt in [0, 1, 2] {
            // Nobody asked for it, or another run was asked.
            let run = world.run("a", attempt);
            let output = "late".to_owned();
            world.send(Event::Probed {
                run,
                probe,
                verdict,
                output,
            });
        }
    }
    assert!(!world.container("a").ready);
    assert!(world.done("signal").is_empty());
    assert!(world.events("Unhealthy").is_empty());
}

#[test]
fn each_run_begins_unready_and_with_an_empty_row() {
    let mut world = readiness(thresholds(2, 1), &[Success, Success]);
    world.until(15);
    assert!(world.container("a").ready);
    world.exit("a", 1);
    assert!(!world.container("a").ready);
    world.until(20);
    assert!(!world.container("a").ready);
    world.until(25);
    assert!(world.container("a").ready);
}

#[test]
fn an_answer_for_an_earlier_run_is_none_for_the_probe_of_this_one() {
    let silent = Way {
        readiness: vec![],
        ..Way::default()
    };
    let a = main("a").readiness(thresholds(1, 1));
    let mut world = World::of(&pod([a])).way("a", silent).up();
    world.until(3);
    world.exit("a", 1);
    assert_eq!(world.done("readiness"), ["0 readiness a", "3 readiness a"]);
    for (attempt, ready) in [(0, false), (1, true)] {
        world.send(Event::Probed {
            run: world.run("a", attempt),
            probe: ProbeKind::Readiness,
            verdict: Success,
            output: String::new(),
        });
        assert_eq!(world.container("a").ready, ready);
    }
}

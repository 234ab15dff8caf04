//! Deadline and eviction.

use podrun::lifecycle::Event;
use podrun::plan::RestartPolicy;

use crate::plans::{ContainerWords, PodWords, exec, init, main, pod, sidecar};
use crate::world::{Way, World};

const DEADLINE: &str = "Pod was active on the node longer than the specified deadline";

#[test]
fn after_its_deadline_a_pod_is_stopped_with_its_grace_period_and_has_failed() {
    let mut world = World::of(&pod([main("a")]).deadline(60).grace(10))
        .way("a", Way::ignores_term())
        .up();
    world.until(59);
    assert!(world.done("signal").is_empty());
    world.until(100);
    assert_eq!(
        world.done("signal kill finish"),
        ["60 signal a", "70 kill a", "70 finish"]
    );
    assert_eq!(world.phase(), "Failed");
    let status = world.status();
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(status.message.as_deref(), Some(DEADLINE));
    assert_eq!(world.events("DeadlineExceeded"), [DEADLINE]);
}

#[test]
fn a_deadline_counts_init_containers_and_back_off_and_fails_even_who_exits_with_zero() {
    let plan = pod([init("i"), main("a")])
        .policy(RestartPolicy::OnFailure)
        .deadline(15);
    let mut world = World::of(&plan).way("i", Way::exits(0, 1)).up();
    world.until(100);
    assert_eq!(world.done("finish"), ["15 finish"]);
    assert_eq!(world.phase(), "Failed");

    let polite = Way {
        on_term: Some((0, 0)),
        ..Way::default()
    };
    let mut world = World::of(&pod([main("a")]).deadline(15))
        .way("a", polite)
        .up();
    world.until(100);
    assert_eq!(world.state("a"), "terminated Completed 0");
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn a_pod_that_is_done_before_its_deadline_has_succeeded() {
    let plan = pod([main("a")]).policy(RestartPolicy::Never).deadline(15);
    let mut world = World::of(&plan).way("a", Way::exits(14, 0)).up();
    world.until(100);
    assert_eq!(world.phase(), "Succeeded");
    assert_eq!(world.status().reason, None);
}

#[test]
fn a_deadline_holds_without_a_sandbox() {
    let mut world = World::of(&pod([main("a")]).deadline(15));
    world.until(100);
    assert_eq!(world.done("finish"), ["15 finish"]);
    assert_eq!(world.status().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn an_evicted_pod_has_a_second_of_grace_and_has_failed() {
    let text = "Usage of EmptyDir volume \"x\" exceeds the limit \"10Mi\". ";
    let way = Way {
        pre_stop: None,
        ..Way::ignores_term()
    };
    let a = main("a").pre_stop(exec());
    let mut world = World::of(&pod([sidecar("s"), a]))
        .way("a", way)
        .way("s", Way::ignores_term())
        .up();
    world.until(10);
    world.send(Event::Evict {
        message: text.to_owned(),
    });
    world.until(100);
    assert_eq!(
        world.done("preStop signal kill finish"),
        [
            "10 preStop a",
            "11 signal s",
            "11 signal a",
            "13 kill s",
            "13 kill a",
            "13 finish"
        ]
    );
    assert_eq!(world.phase(), "Failed");
    let status = world.status();
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert_eq!(status.message.as_deref(), Some(text));
    assert_eq!(world.events("Evicted"), [text]);
    assert_eq!(
        world.condition("DisruptionTarget"),
        format!("True TerminationByKubelet {text}")
    );
}

#[test]
fn a_pod_that_is_deleted_while_it_is_evicted_keeps_its_reason() {
    let mut world = World::of(&pod([main("a")]))
        .way("a", Way::ignores_term())
        .up();
    world.send(Event::Evict {
        message: "too much".to_owned(),
    });
    world.delete(None);
    world.until(100);
    assert_eq!(world.done("finish"), ["2 finish"]);
    assert_eq!(world.status().reason.as_deref(), Some("Evicted"));
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn nothing_happens_after_the_end() {
    let mut world = World::of(&pod([main("a")])).up();
    world.delete(None);
    let before = world.done("start signal finish").len();
    world.delete(Some(0));
    world.send(Event::RestartAll);
    world.send(Event::SandboxReady);
    world.exit("a", 1);
    world.until(10_000);
    assert_eq!(world.done("start signal finish").len(), before);
}

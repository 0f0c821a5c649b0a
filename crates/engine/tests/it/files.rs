//! What a word in a workflow file means when the workflow is carried out.

use stepwell_core::ids::Ordinal;
use stepwell_core::run::event::Event;
use stepwell_core::status::RunStatus;
use stepwell_engine::Start;
use stepwell_engine::load::{self, Format};
use stepwell_engine::testing::{ScriptedProvider, TestEngine, flaky};

/// spec/gleitzeit.md §1.4: `optional` is met by any end. So it waits for one, also of a step that has not begun.
#[tokio::test(start_paused = true)]
async fn an_optional_need_waits_for_any_end_of_its_step() {
    let file = "
name: optional
steps:
  - {id: first, protocol: test/v1, method: test/do}
  - {id: fails, protocol: test/v1, method: test/do, needs: [first], on_failure: continue}
  - {id: skipped, protocol: test/v1, method: test/do, needs: [first], when: 'not ${first}'}
  - {id: last, protocol: test/v1, method: test/do, needs: [{step: fails, kind: optional}, {step: skipped, kind: optional}]}
";
    let test = TestEngine::new(ScriptedProvider::default().on("fails", |_| flaky("it breaks"))).await;
    let loaded = load::text(file, Format::Yaml, test.engine.registry(), true).expect("the file is valid");
    let run = test.engine.start(Start::of(loaded.workflow)).await.expect("it starts").run;
    assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
    let known = test.engine.inspect(&run).await.expect("the run exists");
    let status = |step: &str| known.execution(step, Ordinal(1)).map(|execution| execution.status.as_str());
    assert_eq!(
        [status("fails"), status("skipped"), status("last")],
        [Some("failed"), Some("skipped"), Some("completed")]
    );
    let journal = test.journal(&run).await;
    let at = |what: &dyn Fn(&Event) -> bool| journal.iter().position(|recorded| what(&recorded.event));
    let begun = at(&|e| matches!(e, Event::StepActivated { step, .. } if step.as_str() == "last"));
    assert!(at(&|e| matches!(e, Event::StepFailed { .. })) < begun, "it waits for the end of 'fails'");
    assert!(at(&|e| matches!(e, Event::StepSkipped { .. })) < begun, "it waits for the end of 'skipped'");
}

//! Promises about batches.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{CommandId, Epoch, RunId, Seq};
use stepwell_core::run::event::Event;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};

use super::Subject;
use super::words::{
    Tale, answering, any_work, at, batch_id, first, held, item, journal, lease, log_line, note, object,
    running, session, told, with_command, workflow,
};
use crate::{Base, CommitError, Error, Revision, RowUpdate, WorkChange};

/// What the first batch says is what is read back.
pub async fn a_new_run_is_there_with_its_row_and_its_events(subject: &Subject) {
    let store = subject.store();
    let mut id = 0;
    let tale = Tale::begin_with(&**store, "r", |batch, new| {
        id = batch.id;
        batch.events = vec![note("created"), note("started")];
        new.metadata = object(json!({"team": "ops"}));
    })
    .await;
    assert_eq!(tale.revision, Revision { number: 1, batch: id });

    let loaded = store.load(&tale.run).await.unwrap();
    let row = &loaded.row;
    assert_eq!((row.run.as_str(), row.workflow.as_str(), row.root.as_str()), ("r", "flow", "r"));
    assert_eq!(
        (row.version.as_str(), row.digest.as_str()),
        (workflow("flow").version(), workflow("flow").digest())
    );
    assert_eq!((row.created_at, row.updated_at, row.seq), (at(10), at(10), Seq(2)));
    assert_eq!((&row.state, row.revision, &row.parent), (&running(), tale.revision, &None));
    assert_eq!(Value::Object(row.metadata.clone()), json!({"team": "ops"}));
    assert_eq!(store.run(&tale.run).await.unwrap(), *row);

    assert_eq!(*loaded.definition, workflow("flow").to_json_text());
    assert_eq!(loaded.snapshot, None);
    assert_eq!(told(&loaded.tail), ["created", "started"]);
    assert!(loaded.tail.iter().all(|recorded| recorded.at == at(10)));
    assert_eq!(loaded.tail.iter().map(|recorded| recorded.seq).collect::<Vec<_>>(), [Seq(1), Seq(2)]);
}

/// The id of a run is its own.
pub async fn a_run_that_exists_is_not_created_again(subject: &Subject) {
    let store = subject.store();
    Tale::begin(&**store, "r").await;
    let again = store.commit(Tale::creation("r", |batch, _| batch.events.push(note("again")))).await;
    assert!(matches!(&again, Err(CommitError::Exists(run)) if run.as_str() == "r"), "{again:?}");
    assert_eq!(told(&journal(&**store, &"r".into()).await), ["created"]);
}

/// A batch on a revision of a run that is not there says so.
pub async fn a_batch_for_a_missing_run_is_refused(subject: &Subject) {
    let store = subject.store();
    let tale = Tale { run: "r".into(), revision: Revision { number: 1, batch: 1 }, clock: 11 };
    let refused = store.commit(tale.batch("x")).await;
    assert!(matches!(&refused, Err(CommitError::NotFound(run)) if run.as_str() == "r"), "{refused:?}");
    assert!(matches!(store.run(&tale.run).await, Err(Error::NotFound(_))));
}

/// A batch that was decided on an older state leaves no trace of any kind.
pub async fn a_stale_revision_is_refused_and_nothing_is_written(subject: &Subject) {
    use super::words::{message, question};
    use crate::{TimerChange, WaitChange};
    use stepwell_core::run::command::TimerKey;

    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let stale = tale.clone();
    tale.go_on(&**store, "second", |_| {}).await;
    let before = store.run(&tale.run).await.unwrap();

    let mut batch = with_command(stale.batch("stale"), "c");
    batch.row.status = RunStatus::Failed;
    batch.work = vec![WorkChange::Put(item("a"))];
    batch.timers = vec![TimerChange::Put(TimerKey::Run, at(1))];
    batch.waits = vec![WaitChange::Open(Box::new(question(&tale.run, "w", 20)))];
    batch.outbox = vec![message("other", "m")];
    let id = batch.id;
    let refused = store.commit(batch).await;
    let Err(CommitError::Stale { run, given, current }) = refused else { panic!("{refused:?}") };
    assert_eq!((run, given, current), (tale.run.clone(), stale.revision, tale.revision));

    assert_eq!(store.run(&tale.run).await.unwrap(), before);
    assert_eq!(told(&journal(&**store, &tale.run).await), ["created", "second"]);
    assert_eq!(store.command_outcome(&tale.run, &"c".into()).await.unwrap(), None);
    assert_eq!(store.is_committed(&tale.run, id).await.unwrap(), None);
    assert!(store.due_timers(at(100), 10).await.unwrap().is_empty());
    assert!(store.outbox(10).await.unwrap().is_empty());
    assert!(matches!(store.wait(&"w".into()).await, Err(Error::NotFound(_))));
    let session = session(&**store, "worker").await;
    assert!(lease(&**store, session, 10).await.is_empty());
    tale.go_on(&**store, "third", |_| {}).await;
}

/// A number alone is no state: another batch may have made the same number.
pub async fn a_revision_number_that_matches_by_accident_is_refused(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    tale.go_on(&**store, "second", |_| {}).await;
    let mut batch = tale.batch("by accident");
    batch.base = Base::On(Revision { batch: tale.revision.batch ^ (1 << 63), ..tale.revision });
    assert!(matches!(store.commit(batch).await, Err(CommitError::Stale { .. })));
    let mut batch = tale.batch("by accident");
    batch.base = Base::On(Revision { number: tale.revision.number + 1, ..tale.revision });
    assert!(matches!(store.commit(batch).await, Err(CommitError::Stale { .. })));
    assert_eq!(told(&journal(&**store, &tale.run).await), ["created", "second"]);
}

/// Of batches that were decided on the same state at once, one stands.
pub async fn of_two_batches_on_one_revision_one_wins(subject: &Subject) {
    let store = subject.store();
    let tale = Tale::begin(&**store, "r").await;
    let attempts = (0..16).map(|i| {
        let (store, batch) = (store.clone(), tale.batch(&format!("{i}")));
        tokio::spawn(async move { store.commit(batch).await })
    });
    let mut won = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(_) => won += 1,
            Err(CommitError::Stale { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(journal(&**store, &tale.run).await.len(), 2);
}

/// A command that comes twice has one effect, and its second sender learns of the first.
pub async fn a_repeated_command_returns_its_first_outcome(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let batch = with_command(tale.batch("signal"), "c-1");
    let first = tale.commit(&**store, batch).await.unwrap();
    tale.go_on(&**store, "something else", |_| {}).await;

    let again = store.commit(with_command(tale.batch("again"), "c-1")).await;
    let Err(CommitError::Repeated { run, id, seq }) = again else { panic!("{again:?}") };
    assert_eq!((run, id, seq), (tale.run.clone(), CommandId::from("c-1"), first.seq));
    assert_eq!(store.command_outcome(&tale.run, &"c-1".into()).await.unwrap(), Some(first.seq));
    assert_eq!(store.command_outcome(&tale.run, &"c-2".into()).await.unwrap(), None);
    assert_eq!(store.command_outcome(&"nobody".into(), &"c-1".into()).await.unwrap(), None);
    assert_eq!(told(&journal(&**store, &tale.run).await), ["created", "signal", "something else"]);

    let twice_in_one = |batch: &mut crate::Batch| batch.commands = vec!["c-3".into(), "c-3".into()];
    let both = tale.go_on(&**store, "twice in one", twice_in_one).await;
    assert_eq!(store.command_outcome(&tale.run, &"c-3".into()).await.unwrap(), Some(both.seq));
}

/// Two runs may be sent commands of one id.
pub async fn a_command_id_counts_for_its_run_alone(subject: &Subject) {
    let store = subject.store();
    for run in ["r", "s"] {
        let mut tale = Tale::begin(&**store, run).await;
        let batch = with_command(tale.batch("signal"), "c-1");
        tale.commit(&**store, batch).await.unwrap();
    }
    let created = Tale::creation("t", |batch, _| batch.commands = vec!["c-1".into()]);
    let committed = store.commit(created).await.unwrap();
    assert_eq!(store.command_outcome(&"t".into(), &"c-1".into()).await.unwrap(), Some(committed.seq));
}

/// What is wrong with a batch is said in a fixed order: base, commands, leases.
pub async fn the_base_is_checked_before_commands_and_leases(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let stale = tale.clone();
    tale.go_on(&**store, "signal", |batch| batch.commands = vec!["c".into()]).await;
    let lost = held(&item("a"), session);
    let wrong = |tale: &Tale| answering(with_command(tale.batch("x"), "c"), lost.clone());
    assert!(matches!(store.commit(wrong(&stale)).await, Err(CommitError::Stale { .. })));
    assert!(matches!(store.commit(wrong(&tale)).await, Err(CommitError::Repeated { .. })));
    let answer = answering(tale.batch("x"), lost.clone());
    assert!(matches!(store.commit(answer).await, Err(CommitError::LeaseLost { .. })));
}

/// Batches that wait together share nothing but the transaction.
pub async fn a_refused_batch_does_not_sink_its_neighbours(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tales = Vec::new();
    for i in 0..20 {
        tales.push(Tale::begin(&**store, &format!("r{i:02}")).await);
    }
    let commits = tales.iter().enumerate().map(|(i, tale)| {
        let mut batch = tale.batch("neighbour");
        match i % 4 {
            1 => batch.base = Base::On(Revision { number: 9, batch: 9 }),
            2 => batch.answered = vec![held(&item("a"), session)],
            3 => batch = Tale::creation(tale.run.as_str(), |_, _| {}),
            _ => {}
        }
        let store = store.clone();
        tokio::spawn(async move { store.commit(batch).await })
    });
    for (i, commit) in commits.collect::<Vec<_>>().into_iter().enumerate() {
        let outcome = commit.await.unwrap();
        let fits = match i % 4 {
            0 => outcome.is_ok(),
            1 => matches!(outcome, Err(CommitError::Stale { .. })),
            2 => matches!(outcome, Err(CommitError::LeaseLost { .. })),
            _ => matches!(outcome, Err(CommitError::Exists(_))),
        };
        assert!(fits, "batch {i}: {outcome:?}");
        let expected = if i % 4 == 0 { 2 } else { 1 };
        assert_eq!(journal(&**store, &tales[i].run).await.len(), expected, "batch {i}");
    }
}

/// Once a commit was asked for, it does not matter whether anybody still listens.
pub async fn a_dropped_caller_does_not_undo_the_commit(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    for polls in 0..4 {
        let batch = tale.batch(&format!("dropped after {polls} looks"));
        let id = batch.id;
        {
            let mut commit = std::pin::pin!(store.commit(batch));
            for _ in 0..=polls {
                let looked =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(commit.as_mut().poll(cx))).await;
                if looked.is_ready() {
                    break;
                }
            }
        }
        let since = std::time::Instant::now();
        let committed = loop {
            if let Some(committed) = store.is_committed(&tale.run, id).await.unwrap() {
                break committed;
            }
            assert!(since.elapsed().as_secs() < 20, "the commit vanished with its caller");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        tale.revision = committed.revision;
    }
    assert_eq!(journal(&**store, &tale.run).await.len(), 5);
}

/// With its id the outcome of a commit can be asked for later, however much has happened since.
pub async fn a_batch_is_found_by_its_id(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let mut known = Vec::new();
    for i in 0..4 {
        let mut batch = tale.batch("x");
        batch.work = vec![WorkChange::Put(item(&format!("step {i}")))];
        if i == 2 {
            batch.events.clear();
        }
        let id = batch.id;
        known.push((id, tale.commit(&**store, batch).await.unwrap()));
        lease(&**store, session, 1).await;
    }
    for (id, committed) in known {
        assert_eq!(store.is_committed(&tale.run, id).await.unwrap(), Some(committed));
        assert_eq!(store.is_committed(&"nobody".into(), id).await.unwrap(), None);
    }
    assert_eq!(store.is_committed(&tale.run, batch_id()).await.unwrap(), None);
}

/// A batch may decide something that leaves no event.
pub async fn a_batch_without_events_moves_the_revision(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let stale = tale.clone();
    let committed = tale.go_on(&**store, "", |batch| batch.events.clear()).await;
    assert_eq!((committed.revision.number, committed.seq), (2, Seq(1)));
    assert!(matches!(store.commit(stale.batch("x")).await, Err(CommitError::Stale { .. })));
    tale.go_on(&**store, "", |batch| batch.events.clear()).await;
    let committed = tale.go_on(&**store, "x", |_| {}).await;
    assert_eq!((committed.revision.number, committed.seq), (4, Seq(2)));
}

/// Status, reason, times and error are those of the last batch; what was written once stays.
pub async fn the_row_is_as_the_last_batch_said(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let rows = [
        RowUpdate { status: RunStatus::Paused, pause_reason: Some(PauseReason::Input), ..running() },
        RowUpdate { status: RunStatus::Paused, pause_reason: Some(PauseReason::Operator), ..running() },
        running(),
        RowUpdate {
            status: RunStatus::Failed,
            finished_at: Some(at(14)),
            error: Some(ErrorObject::new(Code::TASK_TIMEOUT, "step 'a' took too long").with("step", "a")),
            ..running()
        },
        RowUpdate { epoch: Epoch(2), started_at: Some(at(15)), ..running() },
        RowUpdate { status: RunStatus::Cancelled, epoch: Epoch(2), finished_at: Some(at(16)), ..running() },
    ];
    for state in rows {
        let moment = at(tale.clock);
        let committed = tale.go_on(&**store, "x", |batch| batch.row = state.clone()).await;
        let row = store.run(&tale.run).await.unwrap();
        assert_eq!(row.state, state);
        assert_eq!((row.created_at, row.updated_at), (at(10), moment));
        assert_eq!((row.revision, row.seq), (committed.revision, committed.seq));
    }
}

/// Batches, starts and lazy events of many tasks number a journal 1, 2, 3 …
pub async fn seq_has_no_gaps(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("talker")]).await;
    assert_eq!(lease(&**store, session, 1).await.len(), 1);
    let talker = held(&item("talker"), session);

    let (talking, run) = (store.clone(), tale.run.clone());
    let lines = tokio::spawn(async move {
        for i in 0..50 {
            talking.append_lazy(vec![log_line(&run, &talker, &format!("line {i}"))]).await.unwrap();
        }
    });
    let leasing = store.clone();
    let work = tokio::spawn(async move {
        let mut taken = 0;
        while taken < 20 {
            taken += leasing.lease(any_work(session, 3)).await.unwrap().len();
            tokio::task::yield_now().await;
        }
    });
    for i in 0..20 {
        tale.ready(&**store, [item(&format!("step {i}"))]).await;
    }
    lines.await.unwrap();
    work.await.unwrap();

    let events = journal(&**store, &tale.run).await;
    let numbers: Vec<u64> = events.iter().map(|recorded| recorded.seq.0).collect();
    // created, ready, start of the talker, 50 lines, 20 times ready and its start
    assert_eq!(numbers, (1..=93).collect::<Vec<_>>());
    assert_eq!(store.run(&tale.run).await.unwrap().seq, Seq(93));
    assert_eq!(events.iter().filter(|recorded| recorded.event.kind() == "AttemptStarted").count(), 21);
}

/// However a store keeps values of any size, nobody notices.
pub async fn large_values_come_back_as_they_were(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let text = "lorem ipsum ".repeat(20_000);
    let many: Vec<Value> = (0..3_000).map(|i| json!({"i": i, "text": "a row of a large table"})).collect();
    let values = [
        json!(text),
        json!({"same": text, "again": text, "small": 1}),
        json!(many),
        json!({"nested": {"deep": [many, {"text": text}]}}),
        json!({"$stepwell:blob": "0123456789abcdef0123456789abcdef", "text": text}),
        json!([{"$stepwell:blob": "0123456789abcdef0123456789abcdef"}, text]),
        json!({"$stepwell:blob": "0123456789abcdef0123456789abcdef"}),
    ];
    let event = |value: &Value| Event::StepCompleted {
        step: "a".into(),
        execution: first("a").ordinal,
        attempt: 1,
        output: Arc::new(value.clone()),
        writes: Vec::new(),
        to: Vec::new(),
    };
    for value in &values {
        tale.go_on(&**store, "x", |batch| batch.events = vec![note("before"), event(value), note("after")])
            .await;
    }
    let loaded = store.load(&tale.run).await.unwrap();
    for (i, value) in values.iter().enumerate() {
        assert!(loaded.tail[1 + 3 * i + 1].event == event(value), "value {i} differs");
    }
    let one = store.events(&tale.run, Seq(2), 1).await.unwrap();
    assert!(one[0].event == event(&values[0]));
}

/// Text with every kind of character, the largest numbers, and the order of keys are kept.
pub async fn odd_values_come_back_as_they_were(subject: &Subject) {
    let store = subject.store();
    let run = "Ünïcode / ☃ 'quoted' \"twice\" %_\\";
    let value = json!({
        "z": "nul \u{0} and \u{1F600}", "a": u64::MAX, "m": i64::MIN, "f": 0.1, "e": 1e300,
        "empty": {}, "list": [], "null": null, "": "empty key",
    });
    let mut tale = Tale::begin_with(&**store, run, |_, new| new.metadata = object(value.clone())).await;
    let event =
        Event::SignalReceived { name: String::new(), id: "\u{0}".into(), value: Arc::new(value.clone()) };
    tale.go_on(&**store, "x", |batch| {
        batch.id = u64::MAX;
        batch.events = vec![event.clone()];
    })
    .await;
    assert_eq!(tale.revision.batch, u64::MAX);
    let loaded = store.load(&RunId::from(run)).await.unwrap();
    assert_eq!(loaded.row.revision, tale.revision);
    assert_eq!(loaded.tail[1].event, event);
    let Event::SignalReceived { value: read, .. } = &loaded.tail[1].event else { panic!("{loaded:?}") };
    assert_eq!(read.to_string(), value.to_string());
    assert_eq!(Value::Object(loaded.row.metadata).to_string(), value.to_string());
    assert!(store.is_committed(&tale.run, u64::MAX).await.unwrap().is_some());
}

/// A definition is there for as many runs as use it.
pub async fn a_definition_is_found_by_its_digest(subject: &Subject) {
    let store = subject.store();
    for run in ["r", "s"] {
        Tale::begin(&**store, run).await;
    }
    Tale::begin_with(&**store, "t", |_, new| new.workflow = workflow("other")).await;
    for name in ["flow", "other"] {
        let found = store.definition(workflow(name).digest()).await.unwrap();
        assert_eq!(*found, workflow(name).to_json_text());
    }
    assert!(matches!(store.definition("none").await, Err(Error::NotFound(_))));
    assert_eq!(*store.load(&"t".into()).await.unwrap().definition, workflow("other").to_json_text());
}

/// The newest run of a workflow says what its name means; a version means that one.
pub async fn a_definition_is_found_by_name_and_version(subject: &Subject) {
    let store = subject.store();
    let of = |name: &str, step: &str| {
        Workflow::new(Definition::new(name, vec![Step::function(step)])).expect("one step is a workflow")
    };
    let (old, new, other) = (of("flow", "old"), of("flow", "new"), of("other", "old"));
    // Not in the order of their ids, and two at one moment.
    for (run, workflow, second) in
        [("c", &old, 10), ("a", &new, 20), ("b", &old, 15), ("d", &other, 30), ("0", &old, 20)]
    {
        let begin = |batch: &mut crate::Batch, made: &mut crate::NewRun| {
            batch.at = at(second);
            made.workflow = workflow.clone();
        };
        Tale::begin_with(&**store, run, begin).await;
    }
    let find =
        async |name: &str, version: Option<&str>| store.newest_definition(name, version).await.unwrap();
    assert_eq!(find("flow", None).await, Some(new.to_json_text().into()));
    assert_eq!(find("flow", Some(old.version())).await, Some(old.to_json_text().into()));
    assert_eq!(find("other", None).await, Some(other.to_json_text().into()));
    assert_eq!(find("other", Some(old.version())).await, None);
    assert_eq!(find("flo", None).await, None);
}

/// What a snapshot contains is not loaded again, but stays in the journal.
pub async fn a_snapshot_shortens_the_tail(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    for i in 2..=5 {
        tale.go_on(&**store, &format!("{i}"), |batch| batch.events.push(note(&format!("{i}b")))).await;
    }
    store.put_snapshot(&tale.run, Seq(4), vec![4, 0, 255]).await.unwrap();
    store.put_snapshot(&tale.run, Seq(3), vec![3]).await.unwrap();
    let loaded = store.load(&tale.run).await.unwrap();
    assert_eq!(loaded.snapshot, Some((Seq(4), vec![4, 0, 255])));
    assert_eq!(told(&loaded.tail), ["3b", "4", "4b", "5", "5b"]);
    assert_eq!(journal(&**store, &tale.run).await.len(), 9);
    store.put_snapshot(&tale.run, Seq(9), vec![9]).await.unwrap();
    assert!(store.load(&tale.run).await.unwrap().tail.is_empty());
    let nobody: RunId = "nobody".into();
    assert!(matches!(store.put_snapshot(&nobody, Seq(1), vec![]).await, Err(Error::NotFound(_))));
}

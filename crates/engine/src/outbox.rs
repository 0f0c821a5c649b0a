//! Commands from one run to another: delivered by whoever finds them, once in effect, since the target's commit
//! removes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, WaitId};
use stepwell_core::run::MessageBody;
use stepwell_core::run::command::{Command, Create};
use stepwell_core::workflow::Workflow;
use stepwell_store::Undelivered;

use crate::error::from_store;
use crate::mailbox::{Refused, Submission};
use crate::shared::Shared;

/// However quiet it is, the store is asked for messages so often: another process may have died with some.
const POLL_MS: u64 = 1_000;

/// At most so many messages are delivered at once.
const AT_ONCE: usize = 256;

pub(crate) fn spawn(shared: &Arc<Shared>) {
    shared.tracker.spawn(deliver_loop(shared.clone()));
}

async fn deliver_loop(shared: Arc<Shared>) {
    loop {
        let woken = shared.message.notified();
        if let Err(error) = deliver_all(&shared).await {
            tracing::warn!(%error, "messages between runs could not be read");
        }
        let poll = shared.clock.now().plus_ms(POLL_MS);
        tokio::select! {
            () = woken => {}
            () = shared.clock.sleep_until(poll) => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// Delivers what waits, and what comes of it, until nothing waits or something cannot be delivered now.
pub(crate) async fn deliver_all(shared: &Arc<Shared>) -> Result<(), ErrorObject> {
    loop {
        let messages = shared.store.outbox(AT_ONCE).await.map_err(|error| from_store(&error))?;
        if messages.is_empty() {
            return Ok(());
        }
        let all = by_target(messages).into_iter().map(|messages| deliver_in_order(shared, messages));
        let are_delivered = futures_util::future::join_all(all).await;
        if !are_delivered.into_iter().all(|is_delivered| is_delivered) {
            return Ok(());
        }
    }
}

/// Parts messages by the run they are for, each part in the order it was sent.
fn by_target(messages: Vec<Undelivered>) -> Vec<Vec<Undelivered>> {
    let mut parts: BTreeMap<RunId, Vec<Undelivered>> = BTreeMap::new();
    for message in messages {
        parts.entry(message.message.target.clone()).or_default().push(message);
    }
    parts.into_values().collect()
}

/// Delivers messages to one run. Returns whether all were; after one that was not, the others wait too.
async fn deliver_in_order(shared: &Arc<Shared>, messages: Vec<Undelivered>) -> bool {
    for message in messages {
        let (id, target) = (message.id, message.message.target.clone());
        if let Err(error) = deliver(shared, message).await {
            tracing::warn!(run = %target, message = id, %error, "a message between runs could not be delivered");
            return false;
        }
    }
    true
}

async fn deliver(shared: &Arc<Shared>, undelivered: Undelivered) -> Result<(), ErrorObject> {
    let Undelivered { id, source, message } = undelivered;
    let body: MessageBody = serde_json::from_value(message.body).map_err(|error| {
        ErrorObject::new(Code::PERSISTENCE_INTEGRITY_ERROR, format!("message {id} cannot be read: {error}"))
    })?;
    let target = message.target;
    match body {
        MessageBody::StartChild { definition, input, context, metadata, parent, base_dir, entry } => {
            let row = shared.store.run(&source).await.map_err(|error| from_store(&error))?;
            let read = Workflow::from_json(&definition);
            let admitted = read.and_then(|workflow| {
                workflow.check_entry(entry.as_ref())?;
                shared.admit(&target, &workflow).map(|()| workflow)
            });
            let workflow = match admitted {
                Ok(workflow) => workflow,
                Err(error) => {
                    let command = cannot_start(&target, parent.wait, &error);
                    return bring(shared, &source, command, id, None).await;
                }
            };
            let create = Create {
                run: target.clone(),
                workflow,
                input,
                context,
                metadata,
                parent: Some(parent),
                base_dir,
                entry,
                hold: false,
                restore: None,
            };
            bring(shared, &target, Command::Create(Box::new(create)), id, Some(row.root)).await
        }
        MessageBody::CancelChild => {
            let reason = Some(format!("its parent {source} ended"));
            bring(shared, &target, Command::Cancel { reason }, id, None).await
        }
        MessageBody::EndChild { wait, output, error } => {
            let outcome = match (output, error) {
                (Some(output), _) => Ok(output),
                (None, Some(error)) => Err(error),
                (None, None) => Err(ErrorObject::new(Code::CHILD_FAILED, "the child run ended")),
            };
            bring(shared, &target, Command::EndChild { wait, outcome }, id, None).await
        }
        MessageBody::NoteChild { wait, turn, paused } => {
            bring(shared, &target, Command::NoteChild { wait, turn, paused }, id, None).await
        }
    }
}

/// Returns what a parent is told whose child has a definition that cannot be run, or not here.
fn cannot_start(child: &RunId, wait: WaitId, cause: &ErrorObject) -> Command {
    let message = format!("child run {child} cannot start: {}", cause.message);
    let error = ErrorObject::new(Code::CHILD_FAILED, message).with("cause", cause.to_json());
    Command::EndChild { wait, outcome: Err(error) }
}

/// Brings a command to its run: the message is gone with the commit that carries it out.
async fn bring(
    shared: &Arc<Shared>,
    target: &RunId,
    command: Command,
    id: u64,
    root: Option<RunId>,
) -> Result<(), ErrorObject> {
    match send(shared, target, Some(command), id, root).await {
        Ok(()) => Ok(()),
        // It does not fit (any more): the child exists, or has ended. What is left is to take note of the delivery.
        Err(Refused::Rejected(_)) => send(shared, target, None, id, None).await.map_err(Refused::into_error),
        // What would have created the run went before this message: it never came, or was pruned.
        Err(Refused::Store(error)) if error.code == Code::WORKFLOW_NOT_FOUND => {
            tracing::info!(run = %target, message = id, "a message is discarded: its run does not exist");
            shared.store.discard(id).await.map_err(|error| from_store(&error))
        }
        Err(refused) => Err(refused.into_error()),
    }
}

async fn send(
    shared: &Arc<Shared>,
    target: &RunId,
    command: Option<Command>,
    delivered: u64,
    root: Option<RunId>,
) -> Result<(), Refused> {
    let submission = |reply| Submission {
        id: None,
        command: command.map(Arc::new),
        fence: None,
        delivered: Some(delivered),
        slot: None,
        root,
        reply,
    };
    shared.send(target, submission).await.map(|_| ())
}

//! Commands from one run to another: delivered by whoever finds them, once in effect, since the target's commit
//! removes them.

use std::sync::Arc;

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
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
        let messages = shared.store.outbox(AT_ONCE).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "messages between runs could not be read");
            Vec::new()
        });
        let mut failed = messages.is_empty();
        let all = messages.into_iter().map(|message| {
            let shared = shared.clone();
            async move {
                let target = message.message.target.clone();
                let delivered = deliver(&shared, message).await;
                if let Err(error) = &delivered {
                    tracing::warn!(run = %target, %error, "a message between runs could not be delivered");
                }
                delivered.is_err()
            }
        });
        failed |= futures_util::future::join_all(all).await.into_iter().any(|failed| failed);
        if !failed {
            continue;
        }
        let poll = shared.clock.now().plus_ms(POLL_MS);
        tokio::select! {
            () = woken => {}
            () = shared.clock.sleep_until(poll) => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

async fn deliver(shared: &Arc<Shared>, undelivered: Undelivered) -> Result<(), ErrorObject> {
    let Undelivered { id, source, message } = undelivered;
    let body: MessageBody = serde_json::from_value(message.body).map_err(|error| {
        ErrorObject::new(
            stepwell_core::error::Code::PERSISTENCE_INTEGRITY_ERROR,
            format!("message {id} cannot be read: {error}"),
        )
    })?;
    let mut root = None;
    let command = match body {
        MessageBody::StartChild { definition, input, context, metadata, parent, base_dir } => {
            let row = shared.store.run(&source).await.map_err(|error| from_store(&error))?;
            root = Some(row.root);
            let workflow = match Workflow::from_json(&definition) {
                Ok(workflow) => workflow,
                Err(error) => {
                    return refuse_child(shared, id, &source, &message.target, parent.wait, error).await;
                }
            };
            Command::Create(Box::new(Create {
                run: message.target.clone(),
                workflow,
                input,
                context,
                metadata,
                parent: Some(parent),
                base_dir,
                hold: false,
            }))
        }
        MessageBody::CancelChild => Command::Cancel { reason: Some(format!("its parent {source} ended")) },
        MessageBody::EndChild { wait, output, error } => {
            let outcome = match (output, error) {
                (Some(output), _) => Ok(output),
                (None, error) => Err(error.unwrap_or_else(|| {
                    ErrorObject::new(stepwell_core::error::Code::CHILD_FAILED, "the child run ended")
                })),
            };
            Command::EndChild { wait, outcome }
        }
        MessageBody::NoteChild { wait, turn, paused } => Command::NoteChild { wait, turn, paused },
    };
    let taken = send(shared, &message.target, Some(command), id, root).await;
    match taken {
        Ok(()) => Ok(()),
        // It does not fit (any more): the child exists, or has ended. What is left is to take note of the delivery.
        Err(Refused::Rejected(_)) => {
            send(shared, &message.target, None, id, None).await.map_err(Refused::into_error)
        }
        Err(refused) => Err(refused.into_error()),
    }
}

/// A child whose definition cannot be run: its parent is told, and the message is done with.
async fn refuse_child(
    shared: &Arc<Shared>,
    id: u64,
    parent: &RunId,
    child: &RunId,
    wait: stepwell_core::ids::WaitId,
    cause: ErrorObject,
) -> Result<(), ErrorObject> {
    let error = ErrorObject::new(
        stepwell_core::error::Code::CHILD_FAILED,
        format!("child run {child} cannot start: {}", cause.message),
    )
    .with("cause", cause.to_json());
    let command = Command::EndChild { wait, outcome: Err(error) };
    send(shared, parent, Some(command), id, None).await.map_err(Refused::into_error)
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
        command,
        fence: None,
        delivered: Some(delivered),
        slot: None,
        root,
        reply,
    };
    shared.send(target, submission).await.map(|_| ())
}

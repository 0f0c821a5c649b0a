//! Tickets go to who can help; urgent ones are answered first and looked at by a person.
//!
//! `cargo run -p stepwell --example service_tickets`

use std::error::Error;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stepwell::{
    Agent, Ask, Context, END, Engine, Next, Options, Priority, Registry, State, StepError, Typed,
};

#[derive(Serialize, Deserialize)]
struct ServiceTicket {
    id: String,
    content: String,
    priority: String,
    category: String,
}

impl Typed for ServiceTicket {
    const NAME: &'static str = "ServiceTicket";
}

async fn open_ticket(cx: Context) -> Result<Next, StepError> {
    cx.set_typed("ticket", &cx.input::<ServiceTicket>()?)?;
    Ok(Next::to("route_ticket"))
}

async fn route_ticket(cx: Context) -> Result<Next, StepError> {
    let ticket: ServiceTicket = cx.typed("ticket")?.ok_or_else(|| StepError::never_again("no ticket"))?;
    Ok(Next::to(match (ticket.priority.as_str(), ticket.category.as_str()) {
        ("high", _) => "urgent_response",
        (_, "technical") => "technical_review",
        _ => "standard_response",
    }))
}

async fn urgent_response(cx: Context) -> Result<Next, StepError> {
    cx.set("response", "we are looking at it right now")?;
    Ok(Next::to("human_review"))
}

async fn human_review(cx: Context) -> Result<Next, StepError> {
    let response: String = cx.get("response")?.unwrap_or_default();
    let reviewed: String = cx.ask_human(Ask::new(format!("Send “{response}”?")).assignee("desk")).await?;
    cx.set("reviewed", &reviewed)?;
    Ok(Next::done())
}

async fn respond(cx: Context) -> Result<Next, StepError> {
    cx.set("response", &format!("thank you; this is {}", cx.step()))?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    let targets = ["urgent_response", "technical_review", "standard_response"];
    let agent = Agent::new("service_desk")
        .add_state(State::new("open_ticket", open_ticket).next(["route_ticket"]))
        .add_state(State::new("route_ticket", route_ticket).next(targets))
        .add_state(
            State::new("urgent_response", urgent_response)
                .next(["human_review"])
                .priority(Priority::Critical),
        )
        .add_state(State::new("human_review", human_review).next([END]))
        .add_state(State::new("technical_review", respond).next([END]))
        .add_state(State::new("standard_response", respond).next([END]))
        .build(&engine)?;

    let ticket = |id: &str, priority: &str, category: &str| json!({ "id": id, "content": "It does not turn.", "priority": priority, "category": category });
    let technical = agent.run(ticket("t-1", "low", "technical")).run_id("t-1").await?;
    assert_eq!(technical.context["response"], "thank you; this is technical_review");

    let urgent = agent.start(ticket("t-2", "high", "technical")).run_id("t-2").await?;
    urgent.rest().await?;
    let asked = urgent.questions().await?.remove(0);
    assert_eq!(asked.question.assignee.as_deref(), Some("desk"));
    urgent.answer(&asked.wait, "sent").await?;
    assert_eq!(urgent.wait().await?.context["reviewed"], "sent");
    engine.shutdown().await;
    Ok(())
}

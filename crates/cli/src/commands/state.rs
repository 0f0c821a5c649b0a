//! `stepwell state`: values that belong to no run, such as how far a periodic job has come.

use clap::Subcommand;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Engine, Leases};
use stepwell_store::{Page, StateRow};

use crate::args::Shared;
use crate::exit::Exit;
use crate::values::{at_least_one, shown, time};
use crate::{output, project};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints a value; exit code 4 if there is none
    Get {
        /// Its key
        key: String,
    },
    /// Writes a value; exit code 5 if another version stands than the expected one
    Set {
        /// Its key
        key: String,
        /// A JSON object of at most 1 MiB, or @FILE
        #[arg(value_name = "JSON|@FILE")]
        value: String,
        /// Only over this version; 0: only if there is none
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
    /// Lists keys in their order, with version and time of the last write
    List {
        /// Only keys that begin like this
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
        /// At most so many
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one)]
        limit: usize,
        /// Where the last page ended
        #[arg(long, value_name = "C")]
        cursor: Option<String>,
    },
    /// Deletes a value; exit code 4 if there is none
    Delete {
        /// Its key
        key: String,
        /// Only this version
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
}

pub(crate) async fn state(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    match &args.verb {
        Verb::Get { key } => {
            let engine = project::open_idle(shared.store()).await?;
            let row = engine.state(key).await?.ok_or_else(|| missing(key))?;
            output::json(&if shared.json { shape(&row) } else { row.value });
        }
        Verb::Set { key, value, if_version } => {
            let value = project::json_argument("the value", value)?;
            let row = open(shared).await?.put_state(key, value, *if_version).await?;
            output::is_done(format!("'{key}' itself is written"));
            if shared.json {
                output::json(&shape(&row));
            } else {
                output::talk(&format!("'{key}' has version {} now", row.version));
            }
        }
        Verb::List { prefix, limit, cursor } => {
            let page = Page { limit: *limit, cursor: cursor.clone() };
            list(shared, prefix, &page).await?;
        }
        Verb::Delete { key, if_version } => {
            let engine = project::open_idle(shared.store()).await?;
            if !engine.delete_state(key, *if_version).await? {
                return Err(missing(key));
            }
            output::is_done(format!("'{key}' itself is deleted"));
            if shared.json {
                output::json(&json!({ "key": key, "deleted": true }));
            } else {
                output::talk(&format!("'{key}' is deleted"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Opens an engine over a store that is made if it does not exist.
async fn open(shared: &Shared) -> Result<Engine, ErrorObject> {
    let store = project::open_store(shared.store()).await?;
    project::engine_over(store, Leases::None, project::registry(&[])?, "state set").await
}

async fn list(shared: &Shared, prefix: &str, page: &Page) -> Result<(), ErrorObject> {
    let found = project::open_idle(shared.store()).await?.states(prefix, page).await?;
    if shared.json {
        let items: Vec<Value> = found.items.iter().map(shape).collect();
        output::json(&json!({ "items": items, "next": found.next }));
        return Ok(());
    }
    for row in &found.items {
        output::data(&format!("{:<25} {:>5} {}", row.key, row.version, shown(row.updated_at)));
    }
    if found.items.is_empty() {
        output::talk("no state matches");
    }
    if let Some(next) = &found.next {
        output::talk(&format!("more with --cursor {}", crate::text::word(next)));
    }
    Ok(())
}

fn missing(key: &str) -> ErrorObject {
    ErrorObject::new(Code::STATE_NOT_FOUND, format!("no state is kept under '{key}'"))
        .with("key", key)
        .with_hint("`stepwell state list` shows the keys; `--store` names another store")
}

fn shape(row: &StateRow) -> Value {
    json!({
        "key": row.key, "value": row.value, "version": row.version, "updated_at": time(row.updated_at),
    })
}

//! The keys of a workflow (spec/gleitzeit.md §1.1).

use serde_json::json;
use stepwell_core::workflow::definition::OnFailure;

use super::types::{Choice, Flag, Integer, Limit, Name, OBJECT, ON_FAILURE, Shape, TAGS, Text, Urgency};
use super::{Key, REQUIRED, Table};

pub(in crate::load) static WORKFLOW: &Table = &[
    &STEPS,
    &ID,
    &NAME,
    &DESCRIPTION,
    &METADATA,
    &TAGGED,
    &PROVIDERS,
    &MAX_CONCURRENT,
    &TIMEOUT,
    &PRIORITY,
    &FAILURE,
    &STRICT,
    &TYPE,
    &BATCH,
    &TEMPLATE,
    &PROTOCOL,
];

pub(in crate::load) static STEPS: Key<Shape> = Key {
    names: &["steps", "tasks"],
    value: Shape {
        told: "list, at least one",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/step" } }),
    },
    default: REQUIRED,
    meaning: "the [steps](#a-step)",
};

pub(in crate::load) static ID: Key<Name> = Key {
    names: &["id"],
    value: Name,
    default: "the `name`, else `workflow-` and 8 characters of its hash",
    meaning: "what `list --workflow` and journals call the workflow; several runs may share it",
};

pub(in crate::load) static NAME: Key<Name> =
    Key { names: &["name"], value: Name, default: "none", meaning: "a name for people" };

pub(in crate::load) static DESCRIPTION: Key<Text> = Key {
    names: &["description"],
    value: Text { most: 1000 },
    default: "empty",
    meaning: "kept with the workflow",
};

pub(in crate::load) static METADATA: Key<Shape> = Key {
    names: &["metadata"],
    value: OBJECT,
    default: "`{}`",
    meaning: "tags of each run: `stepwell list -m team=data`. `run -m` adds more",
};

pub(in crate::load) static TAGGED: Key<Shape> = Key {
    names: &["tags"],
    value: TAGS,
    default: "`{}`",
    meaning: "the same; both go into one, and a key in both is an error",
};

pub(in crate::load) static PROVIDERS: Key<Shape> = Key {
    names: &["providers"],
    value: Shape {
        told: "list of protocols, such as `python` or `python/v1`",
        schema: || json!({ "type": "array", "items": { "$ref": "#/$defs/protocol" } }),
    },
    default: "`[]`",
    meaning: "refuses the file where one of them is not there",
};

pub(in crate::load) static MAX_CONCURRENT: Key<Integer> = Key {
    names: &["max_concurrent", "max_parallel_tasks"],
    value: Integer { least: 1, most: u32::MAX },
    default: "none",
    meaning: "so many attempts of one run at once; what waits for a person, a signal or a clock is not counted",
};

pub(in crate::load) static TIMEOUT: Key<Limit> = Key {
    names: &["timeout"],
    value: Limit,
    default: "none",
    meaning: "of the whole run, by the clock on the wall from its start: waits and downtime count. Passed, the run fails with \
              WORKFLOW_TIMEOUT and what is at work is killed",
};

pub(in crate::load) static PRIORITY: Key<Urgency> =
    Key { names: &["priority"], value: Urgency, default: "`normal`", meaning: "for steps that say nothing" };

pub(in crate::load) static FAILURE: Key<&Choice<OnFailure>> = Key {
    names: &["on_failure"],
    value: &ON_FAILURE,
    default: "`fail`",
    meaning: "for steps that say nothing",
};

pub(in crate::load) static STRICT: Key<Flag> = Key {
    names: &["strict"],
    value: Flag,
    default: "`false`",
    meaning: "warnings are errors, as with `validate --strict`",
};

/// What only a batch file has; nothing fits.
const OF_BATCH_FILES: Shape = Shape { told: "", schema: || json!({}) };

const REFUSED: &str = "of [batch files](#batch-files) only";

pub(in crate::load) static TYPE: Key<Shape> =
    Key { names: &["type"], value: OF_BATCH_FILES, default: "none", meaning: REFUSED };

pub(in crate::load) static BATCH: Key<Shape> =
    Key { names: &["batch"], value: OF_BATCH_FILES, default: "none", meaning: REFUSED };

pub(in crate::load) static TEMPLATE: Key<Shape> =
    Key { names: &["template"], value: OF_BATCH_FILES, default: "none", meaning: REFUSED };

pub(in crate::load) static PROTOCOL: Key<Shape> =
    Key { names: &["protocol"], value: OF_BATCH_FILES, default: "none", meaning: REFUSED };

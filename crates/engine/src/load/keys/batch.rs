//! The keys of a batch file (spec/gleitzeit.md §1.5): those of a workflow without its steps, and these.

use serde_json::json;

use super::types::{Choice, Integer, OBJECT, Shape};
use super::{Key, REQUIRED, Table, step, workflow};

pub(in crate::load) static FILE: &Table = &[
    &TYPE,
    &BATCH,
    &TEMPLATE,
    &PROTOCOL,
    &workflow::ID,
    &workflow::NAME,
    &workflow::DESCRIPTION,
    &workflow::METADATA,
    &workflow::TAGGED,
    &workflow::PROVIDERS,
    &workflow::MAX_CONCURRENT,
    &workflow::TIMEOUT,
    &workflow::PRIORITY,
    &ON_FAILURE,
    &workflow::STRICT,
];

pub(in crate::load) static SECTION: &Table = &[&DIRECTORY, &PATTERN, &FILES, &MAX_CONCURRENT];

/// What a template says of its steps. Its other keys are parameters.
pub(in crate::load) static SETTINGS: &Table = &[
    &METHOD,
    &PROTOCOL,
    &step::TIMEOUT,
    &step::ATTEMPTS,
    &step::PRIORITY,
    &ON_FAILURE,
    &step::METADATA,
    &step::TAGGED,
];

pub(in crate::load) static TYPE: Key<Choice<()>> = Key {
    names: &["type"],
    value: Choice(&[("batch", ())]),
    default: "none",
    meaning: "says that it is one; `batch` says so too",
};

pub(in crate::load) static BATCH: Key<Shape> = Key {
    names: &["batch"],
    value: Shape { told: "object", schema: || json!({ "$ref": "#/$defs/batch" }) },
    default: REQUIRED,
    meaning: "which files, and how many at once",
};

pub(in crate::load) static TEMPLATE: Key<Shape> = Key {
    names: &["template"],
    value: Shape { told: "object", schema: || json!({ "$ref": "#/$defs/template" }) },
    default: REQUIRED,
    meaning: "what is done with each file",
};

pub(in crate::load) static PROTOCOL: Key<Shape> = Key {
    names: &["protocol"],
    value: Shape {
        told: "text, such as `python` or `python/v1`",
        schema: || json!({ "$ref": "#/$defs/protocol" }),
    },
    default: "from `method`",
    meaning: "which protocol; without a version the newest",
};

static ON_FAILURE: Key<&Choice<stepwell_core::workflow::definition::OnFailure>> = Key {
    names: &["on_failure"],
    value: &super::types::ON_FAILURE,
    default: "`continue`",
    meaning: "what a file that fails does to the rest",
};

pub(in crate::load) static DIRECTORY: Key<Shape> = Key {
    names: &["directory"],
    value: Shape { told: "path", schema: || json!({ "type": "string" }) },
    default: "this or `files`",
    meaning: "where they lie. One that is not there is CONFIGURATION_ERROR",
};

pub(in crate::load) static FILES: Key<Shape> = Key {
    names: &["files"],
    value: Shape {
        told: "list of paths",
        schema: || json!({ "type": "array", "items": { "type": "string", "minLength": 1 } }),
    },
    default: "this or `directory`",
    meaning: "these; of repeated ones the first",
};

pub(in crate::load) static PATTERN: Key<Shape> = Key {
    names: &["pattern"],
    value: Shape { told: "text", schema: || json!({ "type": "string" }) },
    default: "`*`",
    meaning: "which of those below the directory",
};

pub(in crate::load) static MAX_CONCURRENT: Key<Integer> = Key {
    names: &["max_concurrent"],
    value: Integer { least: 1, most: u32::MAX },
    default: "5",
    meaning: "so many at once",
};

static METHOD: Key<Shape> = Key {
    names: &["method"],
    value: Shape { told: "text", schema: || json!({ "$ref": "#/$defs/method" }) },
    default: "`llm/chat`",
    meaning: "one of the [methods](#methods)",
};

pub(in crate::load) static PARAMS: Key<Shape> = Key {
    names: &["params", "parameters"],
    value: OBJECT,
    default: "`{}`",
    meaning: "what the [method](#methods) takes, without the path of the file",
};

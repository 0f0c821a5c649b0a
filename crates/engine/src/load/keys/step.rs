//! The keys of a step, of its needs and of `retry` (spec/gleitzeit.md §1.2, §1.3).

use serde_json::json;
use stepwell_core::policy::retry::Backoff;
use stepwell_core::workflow::definition::{Effect, NeedKind, OnFailure};

use super::types::{
    BACKOFF, Choice, EFFECT, Flag, Integer, Limit, NEED_KIND, Name, OBJECT, ON_FAILURE, Seconds, Shape, TAGS,
    Urgency, reference,
};
use super::{Key, REQUIRED, Table};

pub(in crate::load) static STEP: &Table = &[
    &ID,
    &NAME,
    &METHOD,
    &PROTOCOL,
    &PARAMS,
    &NEEDS,
    &WHEN,
    &FOR_EACH,
    &MAX_CONCURRENT,
    &TIMEOUT,
    &ATTEMPTS,
    &FAILURE,
    &EFFECTS,
    &PRIORITY,
    &METADATA,
    &TAGGED,
];

pub(in crate::load) static ID: Key<Name> = Key {
    names: &["id"],
    value: Name,
    default: "the `name`",
    meaning: "what results, journals and `show` call the step. One of `id` and `name` is needed",
};

pub(in crate::load) static NAME: Key<Name> = Key {
    names: &["name"],
    value: Name,
    default: "the `id`",
    meaning: "a second name, which needs and references may use as well",
};

pub(in crate::load) static METHOD: Key<Shape> = Key {
    names: &["method"],
    value: Shape { told: "text", schema: || json!({ "$ref": "#/$defs/method" }) },
    default: REQUIRED,
    meaning: "what to do: one of the [methods](#methods). Without a slash the protocol is put before it: `execute` is \
              `python/execute`",
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

pub(in crate::load) static PARAMS: Key<Shape> = Key {
    names: &["params", "parameters"],
    value: OBJECT,
    default: "`{}`",
    meaning: "what the [method](#methods) takes",
};

pub(in crate::load) static NEEDS: Key<Shape> = Key {
    names: &["needs", "dependencies", "depends_on"],
    value: Shape {
        told: "list",
        schema: || json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/need" }] } }),
    },
    default: "`[]`",
    meaning: "which steps come first: [Needs](#needs)",
};

pub(in crate::load) static WHEN: Key<Shape> = Key {
    names: &["when"],
    value: Shape {
        told: "text, or list of texts",
        schema: || json!({ "anyOf": [reference(), { "type": "array", "items": reference() }] }),
    },
    default: "none",
    meaning: "whether to run at all: [Conditions](#conditions)",
};

pub(in crate::load) static FOR_EACH: Key<Shape> = Key {
    names: &["for_each"],
    value: Shape {
        told: "a reference, or a list",
        schema: || json!({ "anyOf": [reference(), { "type": "array" }] }),
    },
    default: "none",
    meaning: "one execution per element: [`for_each`](#one-execution-per-element-for_each)",
};

pub(in crate::load) static MAX_CONCURRENT: Key<Integer> = Key {
    names: &["max_concurrent"],
    value: Integer { least: 1, most: u32::MAX },
    default: "none",
    meaning: "so many elements at once; only beside `for_each`",
};

pub(in crate::load) static TIMEOUT: Key<Limit> = Key {
    names: &["timeout"],
    value: Limit,
    default: "none",
    meaning: "of one attempt. Refused on steps that wait: `human/`, `timer/`, `signal/`, `workflow/`. Without it a Python step has \
              [30 s](#pythonexecute), a program [60 s](#processrun), a request [30 s](#httprequest)",
};

pub(in crate::load) static ATTEMPTS: Key<Shape> = Key {
    names: &["retry"],
    value: Shape { told: "object", schema: || json!({ "$ref": "#/$defs/retry" }) },
    default: "one attempt",
    meaning: "[more attempts](#attempts-retry) after a failure. Refused on steps that wait: `human/`, `timer/`, `signal/`, `workflow/`",
};

pub(in crate::load) static FAILURE: Key<&Choice<OnFailure>> = Key {
    names: &["on_failure"],
    value: &ON_FAILURE,
    default: "the workflow's",
    meaning: "what a failure does to [the rest](#the-others-on_failure)",
};

pub(in crate::load) static EFFECTS: Key<&Choice<Effect>> = Key {
    names: &["effect"],
    value: &EFFECT,
    default: "`at_least_once`",
    meaning: "whether an attempt without a known outcome is [made again](#no-second-time-effect)",
};

pub(in crate::load) static PRIORITY: Key<Urgency> = Key {
    names: &["priority"],
    value: Urgency,
    default: "the workflow's",
    meaning: "which of the steps that could start starts first",
};

pub(in crate::load) static METADATA: Key<Shape> = Key {
    names: &["metadata"],
    value: OBJECT,
    default: "`{}`",
    meaning: "kept with the workflow; nothing reads it",
};

pub(in crate::load) static TAGGED: Key<Shape> =
    Key { names: &["tags"], value: TAGS, default: "`{}`", meaning: "the same" };

pub(in crate::load) static NEED: &Table = &[&NEEDED, &KIND];

pub(in crate::load) static NEEDED: Key<Shape> = Key {
    names: &["step"],
    value: Shape { told: "text", schema: || json!({ "type": "string" }) },
    default: REQUIRED,
    meaning: "id or name of the step that comes first",
};

pub(in crate::load) static KIND: Key<&Choice<NeedKind>> = Key {
    names: &["kind"],
    value: &NEED_KIND,
    default: "`required`",
    meaning: "what is to become of that step before this one starts",
};

pub(in crate::load) static RETRY: &Table = &[&MAX_ATTEMPTS, &GROWTH, &BASE_DELAY, &MAX_DELAY, &JITTER];

pub(in crate::load) static MAX_ATTEMPTS: Key<Integer> = Key {
    names: &["max_attempts"],
    value: Integer { least: 1, most: 10 },
    default: "3",
    meaning: "all attempts, the first included",
};

pub(in crate::load) static GROWTH: Key<&Choice<Backoff>> = Key {
    names: &["backoff", "backoff_strategy"],
    value: &BACKOFF,
    default: "`exponential`",
    meaning: "how the delay grows: `base`, `base·n` or `base·2ⁿ⁻¹` after attempt n",
};

pub(in crate::load) static BASE_DELAY: Key<Seconds> = Key {
    names: &["base_delay", "initial_delay"],
    value: Seconds { least: 0.1, most: 60.0 },
    default: "1",
    meaning: "the delay that grows",
};

pub(in crate::load) static MAX_DELAY: Key<Seconds> = Key {
    names: &["max_delay"],
    value: Seconds { least: 1.0, most: 3600.0 },
    default: "300",
    meaning: "no delay is longer",
};

pub(in crate::load) static JITTER: Key<Flag> = Key {
    names: &["jitter"],
    value: Flag,
    default: "`true`",
    meaning: "makes each delay up to 30 % longer, at random",
};

//! The JSON Schema of workflow files, for editors: the declared keys, and the parameters of every registered method.
//!
//! It lets more pass than the loader does (what steps say about each other is beyond a schema), but refuses nothing
//! that loads.

use serde_json::{Map, Value, json};

use super::keys::types::reference;
use super::keys::{Table, batch, step, workflow};
use super::protocols::split_version;
use crate::provider::{Param, Registry};

/// Returns the schema (draft 2020-12) of the files that an engine with these providers takes.
pub fn schema(registry: &Registry) -> Value {
    let protocols: Vec<Protocol> = registry.protocols().map(|name| Protocol::new(registry, name)).collect();
    let mut defs = Map::new();
    defs.insert("step".into(), step_schema(&protocols));
    defs.insert("need".into(), object(step::NEED));
    defs.insert("retry".into(), object(step::RETRY));
    defs.insert("protocol".into(), protocol_names(&protocols));
    defs.insert("method".into(), method_names(&protocols));
    defs.insert("reference".into(), reference());
    for method in protocols.iter().flat_map(|protocol| &protocol.methods) {
        if let Some(params) = &method.params {
            defs.insert(method.name.to_owned(), params_schema(params));
        }
    }
    defs.insert("workflow".into(), object(workflow::WORKFLOW));
    defs.insert("batch_file".into(), object(batch::FILE));
    defs.insert("batch".into(), object(batch::SECTION));
    defs.insert("template".into(), template_schema());
    let is_given = |schema: Value| json!({ "type": "object", "properties": schema });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stepwell workflow",
        "type": "object",
        "if": { "anyOf": [
            { "allOf": [is_given(json!({ "batch": { "not": { "type": "null" } } })), { "required": ["batch"] }] },
            { "allOf": [is_given(json!({ "type": { "const": "batch" } })), { "required": ["type"] }] },
        ] },
        "then": { "$ref": "#/$defs/batch_file" },
        "else": { "$ref": "#/$defs/workflow" },
        "$defs": defs,
    })
}

/// Returns the schema of the template of a batch: its settings, and parameters beside them.
fn template_schema() -> Value {
    let mut schema = object(&[batch::SETTINGS, &[&batch::PARAMS]].concat());
    schema["additionalProperties"] = true.into();
    schema
}

/// A registered protocol.
struct Protocol<'a> {
    /// With its version.
    name: &'a str,
    is_newest: bool,
    methods: Vec<Method>,
}

struct Method {
    /// As steps name it; may end with `*`.
    name: &'static str,
    /// None: nobody knows, and any may be given.
    params: Option<Vec<Param>>,
}

impl<'a> Protocol<'a> {
    fn new(registry: &'a Registry, name: &'a str) -> Self {
        let provider = registry.protocol(name).expect("a registered protocol has a provider");
        let (own, version) = split_version(name);
        let is_newer = |other: &str| split_version(other).0 == own && split_version(other).1 > version;
        let names = provider.methods();
        // One that is another's name without its protocol is covered by that.
        let is_other = |name: &str| !names.contains(&format!("{own}/{name}").as_str());
        let method = |name| Method { name, params: provider.params(name) };
        Self {
            name,
            is_newest: !registry.protocols().any(is_newer),
            methods: names.iter().copied().filter(|name| is_other(name)).map(method).collect(),
        }
    }

    fn short(&self) -> &'a str {
        split_version(self.name).0
    }

    /// Returns the names by which a step can ask for the protocol.
    fn names(&self) -> Vec<&'a str> {
        if self.is_newest && self.short() != self.name {
            vec![self.name, self.short()]
        } else {
            vec![self.name]
        }
    }

    /// Returns the schema of the steps whose method this is, however they name it.
    fn names_of(&self, method: &Method) -> Value {
        let asked =
            json!({ "properties": { "protocol": { "enum": self.names() } }, "required": ["protocol"] });
        let unasked = json!({ "properties": { "protocol": { "type": "null" } } });
        let named = |name: &str, protocol: &Value| {
            let method = json!({ "properties": { "method": { "const": name } }, "required": ["method"] });
            json!({ "allOf": [method, protocol] })
        };
        let mut ways = vec![named(method.name, &asked)];
        if self.is_newest {
            ways.push(named(method.name, &unasked));
        }
        if let Some(bare) = method.name.strip_prefix(self.short()).and_then(|rest| rest.strip_prefix('/')) {
            ways.push(named(bare, &asked));
            if self.is_newest && self.short() == "python" {
                ways.push(named(bare, &unasked));
            }
        }
        json!({ "anyOf": ways })
    }
}

/// Returns the schema of an object with those keys.
fn object(table: &Table) -> Value {
    let mut properties = Map::new();
    let mut rules = Vec::new();
    for key in table {
        for name in key.names() {
            properties.insert((*name).to_owned(), key.schema());
        }
        let [name, aliases @ ..] = key.names() else { continue };
        for alias in aliases {
            properties[*alias] = key.schema();
            properties[*alias]["description"] = format!("another name of `{name}`").into();
        }
        let given: Vec<Value> = key.names().iter().map(|name| json!({ "required": [name] })).collect();
        match (key.is_required(), aliases.is_empty()) {
            (true, true) => rules.push(given[0].clone()),
            (true, false) => rules.push(json!({ "oneOf": given })),
            (false, true) => {}
            (false, false) => {
                for (i, one) in given.iter().enumerate() {
                    let others = &given[i + 1..];
                    rules.extend(others.iter().map(|other| json!({ "not": { "allOf": [one, other] } })));
                }
            }
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !rules.is_empty() {
        schema["allOf"] = rules.into();
    }
    schema
}

fn step_schema(protocols: &[Protocol]) -> Value {
    let mut schema = object(step::STEP);
    let named: Vec<Value> =
        [step::ID.names[0], step::NAME.names[0]].iter().map(|name| json!({ "required": [name] })).collect();
    let mut rules = vec![json!({ "anyOf": named })];
    for protocol in protocols {
        for method in protocol.methods.iter().filter(|method| !method.name.ends_with('*')) {
            let Some(params) = &method.params else { continue };
            let schema = json!({ "$ref": format!("#/$defs/{}", method.name.replace('/', "~1")) });
            let nullable = json!({ "anyOf": [schema, { "type": "null" }] });
            let places: Map<String, Value> =
                step::PARAMS.names.iter().map(|name| ((*name).to_owned(), nullable.clone())).collect();
            let mut then = json!({ "properties": places });
            if params.iter().any(|param| param.required) {
                let given = step::PARAMS.names.iter().map(|name| json!({ "required": [name] }));
                then["anyOf"] = given.collect();
            }
            rules.push(json!({ "if": protocol.names_of(method), "then": then }));
        }
    }
    schema["allOf"].as_array_mut().expect("aliases have rules").extend(rules);
    schema
}

fn params_schema(params: &[Param]) -> Value {
    let mut properties = Map::new();
    for param in params {
        let mut schema = param.schema.clone();
        schema["description"] = param.meaning.into();
        properties.insert(param.name.to_owned(), schema);
    }
    let required: Vec<&str> = params.iter().filter(|param| param.required).map(|param| param.name).collect();
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

fn protocol_names(protocols: &[Protocol]) -> Value {
    json!({ "enum": protocols.iter().flat_map(Protocol::names).collect::<Vec<_>>() })
}

/// A method with a slash is one that its protocol has; one without is put behind a protocol.
fn method_names(protocols: &[Protocol]) -> Value {
    let mut exact: Vec<&str> = Vec::new();
    let mut ways = vec![json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.:-]*$" })];
    for protocol in protocols {
        if protocol.methods.is_empty() {
            // Whatever it is asked for.
            return json!({ "type": "string" });
        }
        for method in &protocol.methods {
            match method.name.strip_suffix('*') {
                Some(beginning) => ways.push(json!({ "type": "string", "pattern": format!("^{beginning}") })),
                None => exact.push(method.name),
            }
        }
    }
    exact.dedup();
    ways.insert(0, json!({ "enum": exact }));
    json!({ "anyOf": ways })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::provider::{Outcome, Provider, Task};

    /// Has these methods, each with one required parameter.
    struct Tools(Vec<&'static str>);

    #[async_trait]
    impl Provider for Tools {
        fn methods(&self) -> Vec<&'static str> {
            self.0.clone()
        }

        fn params(&self, _method: &str) -> Option<Vec<Param>> {
            let schema = json!({ "type": "string" });
            Some(vec![Param { name: "text", required: true, schema, meaning: "what" }])
        }

        async fn execute(&self, _task: Task) -> Outcome {
            Outcome::output(Value::Null)
        }
    }

    fn takes(registry: &Registry, step: &Value) -> bool {
        let validator = jsonschema::draft202012::new(&schema(registry)).expect("a schema");
        let mut named = json!({ "id": "a" });
        named.as_object_mut().expect("an object").extend(step.as_object().expect("an object").clone());
        validator.is_valid(&json!({ "steps": [named] }))
    }

    #[test]
    fn a_method_is_known_by_its_protocol_its_version_and_its_beginning() {
        let tools = |names: &[&'static str]| Arc::new(Tools(names.to_vec()));
        let registry = Registry::default()
            .provide("llm/v1", tools(&["llm/chat"]))
            .provide("llm/v2", tools(&["llm/chat", "llm/see"]))
            .provide("mcp/v1", tools(&["mcp/tool.*", "mcp/ping"]));
        for good in [
            json!({ "method": "llm/chat", "params": { "text": "x" } }),
            json!({ "method": "see", "protocol": "llm", "params": { "text": "x" } }),
            json!({ "method": "chat", "protocol": "llm/v1", "params": { "text": "x" } }),
            json!({ "method": "mcp/tool.any.thing", "params": { "whatever": 1 } }),
        ] {
            assert!(takes(&registry, &good), "{good}");
        }
        for bad in [
            json!({ "method": "llm/chat" }),
            json!({ "method": "chat", "protocol": "llm/v1", "params": {} }),
            json!({ "method": "see", "protocol": "llm", "params": { "test": "x" } }),
            json!({ "method": "llm/hear", "params": { "text": "x" } }),
            json!({ "method": "chat", "protocol": "llm/v3", "params": { "text": "x" } }),
            json!({ "method": "mcp/pong" }),
        ] {
            assert!(!takes(&registry, &bad), "{bad}");
        }
        // Of a provider that names no methods nobody knows what it has.
        let open = registry.provide("any/v1", tools(&[]));
        assert!(takes(&open, &json!({ "method": "any/thing" })));
    }
}

//! Parameters of an attempt: `${…}` resolved against the run as it stands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::view::RunScope;
use stepwell_core::run::{Execution, Run};
use stepwell_core::workflow::StepIx;
use stepwell_core::workflow::template::{MissingReference, Template};

use crate::provider::Provider;
use crate::shared::Shared;

/// Templates of steps that were read already, by definition.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    known: Mutex<HashMap<(String, StepIx), Arc<Template>>>,
}

/// So many steps are kept read; then all are forgotten, since reading them again is cheap.
const MAX_KNOWN: usize = 10_000;

impl Templates {
    /// Returns the template of a step's parameters, without those that its provider resolves itself.
    fn get(
        &self,
        run: &Run,
        step: StepIx,
        params: &Map<String, Value>,
        raw: &[&str],
    ) -> Result<Arc<Template>, ErrorObject> {
        let key = (run.workflow().digest().to_owned(), step);
        if let Some(known) = self.known.lock().expect("no panic happens under this lock").get(&key) {
            return Ok(known.clone());
        }
        let plain = params.iter().filter(|(key, _)| !raw.contains(&key.as_str()));
        let value = Value::Object(plain.map(|(key, value)| (key.clone(), value.clone())).collect());
        let template = Template::parse(&value, &**run.workflow()).map_err(|problems| {
            let told = problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
            let name = &run.workflow().step(step).name;
            ErrorObject::new(Code::TASK_PARAMETER_ERROR, format!("step '{name}': {told}"))
        })?;
        let template = Arc::new(template);
        // Steps that a run added are its own, and are few.
        if step.at() >= run.workflow().origin().len_with_elements() {
            return Ok(template);
        }
        let mut known = self.known.lock().expect("no panic happens under this lock");
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, template.clone());
        Ok(template)
    }
}

/// Returns the parameters of an attempt.
///
/// # Errors
/// `TASK_PARAMETER_ERROR` if a reference has no value: the provider is not called.
pub(crate) fn resolve(
    shared: &Shared,
    run: &Run,
    execution: &Execution,
    provider: &dyn Provider,
    method: &str,
    params: &Value,
) -> Result<Value, ErrorObject> {
    let Value::Object(params) = params else { return Ok(params.clone()) };
    let raw_names = provider.raw_params(method);
    let scope = RunScope { run, execution: Some(execution) };
    let template = shared.templates.get(run, execution.step_ix(), params, raw_names)?;
    let resolved =
        template.resolve(&scope).map_err(|missing| of_step(missing_reference(&missing), execution))?;
    let Value::Object(mut resolved) = resolved.into_owned() else {
        unreachable!("an object resolves to an object")
    };
    let raw = raw_names.iter().filter_map(|name| params.get_key_value(*name));
    for (key, value) in raw {
        for (key, value) in provider
            .bind(method, key, value.clone(), &**run.workflow(), &scope)
            .map_err(|error| of_step(error, execution))?
        {
            resolved.insert(key, value);
        }
    }
    Ok(Value::Object(resolved))
}

/// Names the step in an error.
fn of_step(mut error: ErrorObject, execution: &Execution) -> ErrorObject {
    error.message = format!("step '{}': {}", execution.step, error.message);
    error.with("task_id", execution.step.as_str())
}

/// Returns the error of a reference without a value.
pub fn missing_reference(missing: &MissingReference) -> ErrorObject {
    ErrorObject::new(Code::TASK_PARAMETER_ERROR, missing.to_string())
        .with("reference", missing.reference.as_str())
        .with("available_keys", missing.available_keys.clone())
}

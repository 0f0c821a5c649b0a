//! `python/v1` as the engine sees it: parameters in, result object or error with its code out.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::path::Path as Place;
use stepwell_core::workflow::python_source::PythonSource;
use stepwell_core::workflow::template::{Names, Scope};
use stepwell_engine::load::Problem;
use stepwell_engine::params::missing_reference;
use stepwell_engine::{Failure, Outcome, Outside, Param, ParamProblem, Provider, Task};

use super::suspects::Suspects;
use super::{PythonFailure, PythonPool, PythonSettings, PythonTask, Source};
use crate::files::FileError;
use crate::isolation::Isolation;
use crate::params::{self, Kind, Table};

/// A script may run so long unless it says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the values that `${…}` in code stands for go, among the parameters of an attempt. Nobody can give it in a file.
const BINDINGS: &str = "\u{0}bindings";

const EXECUTE: &Table = &[
    ("code", Kind::Text, false, "the script"),
    ("file", Kind::Text, false, "the path of the script"),
    ("file_path", Kind::Text, false, "another name of `file`"),
    ("args", Kind::Object, false, "the variable `args`"),
    ("context", Kind::Object, false, "another name of `args`"),
    ("timeout", Kind::Limit, false, "of one attempt. The smaller of this and the step's `timeout` counts"),
];

/// Runs Python scripts.
#[derive(Debug)]
pub struct Python {
    pool: PythonPool,
    suspects: Suspects,
    isolation: Isolation,
    /// The script that was last found to lie inside of the roots, with its base directory: the steps of a batch all name one.
    found: Mutex<Option<(Option<String>, String)>>,
}

impl Python {
    /// Returns a provider; no interpreter is started before the first script.
    pub fn new(settings: PythonSettings) -> Self {
        Self {
            isolation: settings.isolation.clone().settled(),
            suspects: Suspects::default(),
            found: Mutex::default(),
            pool: PythonPool::new(settings),
        }
    }
}

#[async_trait]
impl Provider for Python {
    fn methods(&self) -> Vec<&'static str> {
        vec!["python/execute", "execute"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "output", "stderr", "success", "execution_time"]
    }

    fn raw_params(&self, _method: &str) -> &'static [&'static str] {
        // What a file holds is never looked at; the name of one is a parameter like any other.
        &["code"]
    }

    fn bind(
        &self,
        _method: &str,
        key: &str,
        value: Value,
        names: &dyn Names,
        scope: &dyn Scope,
    ) -> Result<Vec<(String, Value)>, ErrorObject> {
        let (true, Some(code)) = (key == "code", value.as_str()) else {
            return Ok(vec![(key.to_owned(), value)]);
        };
        let source = PythonSource::parse(code, names).map_err(|problems| {
            let told = problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
            ErrorObject::new(Code::WORKFLOW_VALIDATION_FAILED, told)
        })?;
        let resolved = source.resolve(scope).map_err(|missing| missing_reference(&missing))?;
        let bindings: Vec<Value> =
            resolved.bindings.into_iter().map(|(name, value)| json!([name, value])).collect();
        Ok(vec![("code".into(), resolved.code.into()), (BINDINGS.into(), bindings.into())])
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(EXECUTE))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let mut problems = params::check(params, EXECUTE);
        problems.extend(unfit_together(params));
        problems
    }

    async fn check_outside(&self, _method: &str, params: &Value, outside: &Outside<'_>) -> Vec<Problem> {
        let named = ["file", "file_path"].iter().find_map(|key| Some((*key, params.get(key)?)));
        let Some((key, file)) = named.filter(|(_, file)| !params::holds_reference(file)) else {
            return Vec::new();
        };
        let file = file.as_str().unwrap_or_default();
        let found = || self.found.lock().expect("no panic happens under this lock");
        // It is looked at again when it is opened.
        if found().as_ref().is_some_and(|(dir, name)| dir.as_deref() == outside.base_dir && name == file) {
            return Vec::new();
        }
        let base_dir = self.isolation.base_dir(outside.base_dir);
        let looked = self.isolation.roots_at(&base_dir).find(&base_dir, Path::new(file));
        if let Err(refused @ FileError::OutsideRoots { .. }) = looked {
            let error = ErrorObject::new(Code::INVALID_PARAMS, refused.to_string());
            let mut problem = Problem::of(error.with("parameter", key).with("reason", refused.reason()));
            problem.path = Place::root().join(key);
            return vec![problem];
        }
        // What is not there may be made by an earlier step.
        *found() = Some((outside.base_dir.map(str::to_owned), file.to_owned()));
        Vec::new()
    }

    async fn execute(&self, mut task: Task) -> Outcome {
        let bindings = take_bindings(&mut task.params);
        let mut problems = params::check_resolved(&task.params, EXECUTE);
        problems.extend(unfit_together(&task.params));
        if let Err(error) = params::refuse(&task, problems) {
            return error.into();
        }
        let script = self.script(&task, bindings);
        let limit = script.timeout;
        let ended = self.pool.run(script, task.cancel.clone()).await;
        let was_lost = matches!(ended, Err(PythonFailure::ParentLost { .. }));
        self.suspects.note(&task.idempotency_key.to_string(), was_lost);
        match ended {
            Ok(done) => Outcome::output(json!({
                "result": done.result, "output": done.output, "stderr": done.stderr, "success": true,
                "execution_time": done.execution_time,
            })),
            Err(failure) => failed(&task, &failure, limit, &self.isolation),
        }
    }

    async fn shutdown(&self) {
        self.pool.shutdown().await;
    }
}

/// Takes the names that stand in the code, with their values, out of the parameters.
fn take_bindings(params: &mut Value) -> Vec<(String, Value)> {
    let bound = params.as_object_mut().and_then(|params| params.shift_remove(BINDINGS));
    bound.map_or_else(Vec::new, |bound| serde_json::from_value(bound).expect("`bind` wrote it"))
}

/// Returns which parameters are missing beside others, or exclude each other.
fn unfit_together(params: &Value) -> Vec<ParamProblem> {
    let given = |keys: &[&str]| keys.iter().filter(|key| params.get(**key).is_some()).count();
    let mut problems = Vec::new();
    match given(&["code", "file", "file_path"]) {
        0 => problems.push(params::problem("code", "missing", "one of 'code' and 'file' is needed".into())),
        1 => {}
        _ => problems.push(params::problem(
            "code",
            "exclusive",
            "only one of 'code' and 'file' may be given".into(),
        )),
    }
    if given(&["args", "context"]) == 2 {
        let message = "'args' and 'context' are the same; give one of them".into();
        problems.push(params::problem("args", "exclusive", message));
    }
    problems
}

impl Python {
    fn script(&self, task: &Task, bindings: Vec<(String, Value)>) -> PythonTask {
        let given = |key: &str| task.params.get(key);
        let text = |key: &str| given(key).and_then(Value::as_str);
        let source = match (text("code"), text("file").or_else(|| text("file_path"))) {
            (Some(code), _) => Source::Code(code.to_owned()),
            (None, file) => Source::File(file.unwrap_or_default().into()),
        };
        PythonTask {
            source,
            args: given("args").or_else(|| given("context")).cloned().unwrap_or_else(|| json!({})),
            bindings,
            timeout: params::limit(task, DEFAULT_TIMEOUT),
            base_dir: self.isolation.base_dir(task.run.base_dir.as_deref()),
            alone: self.suspects.contain(&task.idempotency_key.to_string()),
        }
    }
}

fn failed(task: &Task, failure: &PythonFailure, limit: Duration, isolation: &Isolation) -> Outcome {
    let code = match failure {
        PythonFailure::TimedOut { .. } => Code::TASK_TIMEOUT,
        PythonFailure::ResultInvalid { .. } => Code::TASK_RESULT_INVALID,
        PythonFailure::File(_) => Code::INVALID_PARAMS,
        PythonFailure::NoInterpreter { .. } | PythonFailure::NoSandbox(_) => {
            Code::PROVIDER_INITIALIZATION_FAILED
        }
        // Nobody knows whose doing it was: all tasks of that interpreter died with it.
        PythonFailure::ParentLost { .. } => return Outcome::Lost { reason: failure.to_string() },
        PythonFailure::Cancelled { .. } => Code::TASK_CANCELLED,
        PythonFailure::Closed => Code::SYSTEM_SHUTDOWN,
        PythonFailure::Exception { .. }
        | PythonFailure::Syntax { .. }
        | PythonFailure::Memory { .. }
        | PythonFailure::Exit { .. }
        | PythonFailure::Signal { .. }
        | PythonFailure::OutputLimit { .. }
        | PythonFailure::NotStarted { .. } => Code::TASK_EXECUTION_FAILED,
    };
    let mut error = ErrorObject::new(code, format!("step '{}': {failure}", task.step));
    error.retryable = failure.is_retryable();
    if let PythonFailure::NoSandbox(why) = failure {
        error.hint.clone_from(&why.hint);
        error.data.clone_from(&why.data);
    }
    error = error.with("task_id", task.step.as_str());
    match failure {
        PythonFailure::Exception { raised, .. } | PythonFailure::Syntax { raised, .. } => {
            error = error
                .with("exception_type", raised.exception_type.as_str())
                .with("traceback", raised.traceback.as_str());
            if raised.is_of_environment() {
                let hint = "a script sees the environment variables that 'env_allow' in stepwell.toml names, and no others";
                error = error.with_hint(hint);
            }
        }
        PythonFailure::Memory { raised, limit_bytes, .. } => {
            error = error
                .with("reason", "memory")
                .with("limit_bytes", *limit_bytes)
                .with("traceback", raised.traceback.as_str());
        }
        PythonFailure::Exit { code, .. } => error = error.with("exit_code", *code),
        PythonFailure::Signal { signal, .. } => error = error.with("signal", *signal),
        PythonFailure::TimedOut { .. } => error = error.with("timeout_seconds", limit.as_secs_f64()),
        PythonFailure::OutputLimit { limit_bytes, .. } => {
            error = error.with("reason", "output_limit").with("limit_bytes", *limit_bytes);
        }
        PythonFailure::ResultInvalid { path, reason, .. } => {
            error = error.with("path", path.as_str()).with("reason", reason.as_str());
        }
        PythonFailure::File(file) => {
            error = error.with("parameter", "file").with("reason", file.reason());
        }
        PythonFailure::Cancelled { .. }
        | PythonFailure::NotStarted { .. }
        | PythonFailure::NoInterpreter { .. }
        | PythonFailure::NoSandbox(_)
        | PythonFailure::ParentLost { .. }
        | PythonFailure::Closed => {}
    }
    if let Some(printed) = failure.printed() {
        error = error.with("output", printed.output.as_str()).with("stderr", printed.stderr.as_str());
        let raised = match failure {
            PythonFailure::Exception { raised, .. } => raised.traceback.as_str(),
            _ => "",
        };
        let told = [raised, printed.stderr.as_str()];
        error = isolation.explain(error, task.run.base_dir.as_deref(), &told);
    }
    Outcome::Fail(Failure {
        error,
        timed_out: matches!(failure, PythonFailure::TimedOut { .. }),
        retry_after_ms: None,
    })
}

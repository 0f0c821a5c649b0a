//! `process/v1` as the engine sees it: parameters in, result object or error with its code out.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Failure, Outcome, Param, ParamProblem, Provider, Task};

use super::attempt::Job;
use super::failure::ProgramFailure;
use super::launch::Launch;
use super::program::{DEFAULT_PATH, in_roots, is_path, on_path};
use crate::isolation::{Isolation, WallsError, cpu_seconds};
use crate::params::{self, Kind, Table, problem};

/// A program may run so long unless it says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

const RUN: &Table = &[
    (
        "command",
        Kind::Text,
        true,
        "the program: a name, looked for on the `PATH`, or a path (with a `/`) to a file that can be executed, inside [the same directories as a script](#what-a-script-sees)",
    ),
    ("args", Kind::Texts, false, "its arguments"),
    ("stdin", Kind::Text, false, "what it can read from its standard input"),
    ("env", Kind::TextObject, false, "variables, beside the few that [a script has](#what-a-script-sees)"),
    ("timeout", Kind::Limit, false, "of one attempt. The smaller of this and the step's `timeout` counts"),
    ("expect_exit", Kind::ExitCodes, false, "the exit codes that mean success"),
    (
        "parse",
        Kind::OneOf(&["json"]),
        false,
        "takes its standard output for one JSON value; what is none is TASK_RESULT_INVALID, tried once",
    ),
];

/// Runs programs.
#[derive(Clone, Debug)]
pub struct Process {
    isolation: Isolation,
}

impl Process {
    /// Returns a provider of programs within those confines.
    pub fn new(isolation: Isolation) -> Self {
        Self { isolation }
    }
}

#[async_trait]
impl Provider for Process {
    fn methods(&self) -> Vec<&'static str> {
        vec!["process/run"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "output", "stderr", "exit_code", "execution_time"]
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(RUN))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let mut problems = params::check(params, RUN);
        problems.extend(unfit(params));
        if problems.is_empty() {
            problems.extend(self.unknown_program(params));
        }
        problems
    }

    async fn execute(&self, mut task: Task) -> Outcome {
        spell_out(&mut task.params);
        let mut problems = params::check_resolved(&task.params, RUN);
        problems.extend(unfit(&task.params));
        if let Err(error) = params::refuse(&task, problems) {
            return error.into();
        }
        match self.run(&task).await {
            Ok(output) => Outcome::output(output),
            Err(failure) => failed(&task, failure, &self.isolation),
        }
    }
}

impl Process {
    async fn run(&self, task: &Task) -> Result<Value, ProgramFailure> {
        let params = &task.params;
        let timeout = params::limit(task, DEFAULT_TIMEOUT);
        let (isolation, given, base) = (self.isolation.clone(), params.clone(), task.run.base_dir.clone());
        let cpu_seconds = cpu_seconds(timeout);
        let launch =
            tokio::task::spawn_blocking(move || launch(&isolation, &given, base.as_deref(), cpu_seconds));
        let launch =
            launch.await.map_err(|error| ProgramFailure::NotStarted { reason: error.to_string() })??;
        let job = Job {
            launch,
            stdin: params.get("stdin").and_then(Value::as_str).map(str::to_owned),
            timeout,
            output_limit: self.isolation.output_limit,
            expected: expected(params),
            parses_json: params.get("parse").is_some(),
            cancel: &task.cancel,
        };
        let ended = job.run().await?;
        Ok(json!({
            "result": ended.result, "output": ended.printed.output, "stderr": ended.printed.stderr,
            "exit_code": ended.exit_code, "execution_time": ended.execution_time,
        }))
    }

    /// Returns the problem of a program that is not there, where a definition tells which one is meant. A path starts at
    /// a directory that only the run has, and an earlier step may make the program.
    fn unknown_program(&self, params: &Value) -> Option<ParamProblem> {
        let command =
            params["command"].as_str().filter(|command| is_literal(command) && !is_path(command))?;
        let search = match params.get("env") {
            None => None,
            Some(Value::Object(env)) => env.get("PATH").and_then(Value::as_str),
            Some(_) => return None,
        };
        if search.is_some_and(|search| !is_literal(search)) {
            return None;
        }
        let search = search.map(OsString::from).or_else(|| variable(&self.isolation, "PATH"));
        on_path(command, &search.unwrap_or_else(|| DEFAULT_PATH.into())).err()
    }
}

fn is_literal(text: &str) -> bool {
    !text.contains("${")
}

fn variable(isolation: &Isolation, name: &str) -> Option<OsString> {
    isolation.environment().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Turns what references stand for into text, as it becomes text within a longer one: a program takes nothing else.
fn spell_out(params: &mut Value) {
    let Some(params) = params.as_object_mut() else { return };
    for (key, value) in params {
        match (key.as_str(), value) {
            ("stdin", value) => spell(value),
            ("args", Value::Array(args)) => args.iter_mut().for_each(spell),
            ("env", Value::Object(env)) => env.values_mut().for_each(spell),
            _ => {}
        }
    }
}

fn spell(value: &mut Value) {
    if !value.is_string() {
        *value = Value::String(value.to_string());
    }
}

/// Returns what no program can be given: the system ends texts at the first NUL byte, and names at `=`.
fn unfit(params: &Value) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    let has_nul = |value: &Value| value.as_str().is_some_and(|text| text.contains('\0'));
    let nul = |parameter: &str, whose: String| {
        problem(parameter, "nul", format!("{whose} holds a NUL byte, which no program can be given"))
    };
    if params["command"].as_str() == Some("") {
        problems.push(problem("command", "empty", "'command' is empty".into()));
    }
    if has_nul(&params["command"]) {
        problems.push(nul("command", "'command'".into()));
    }
    for (number, arg) in params["args"].as_array().into_iter().flatten().enumerate() {
        if has_nul(arg) {
            problems.push(nul("args", format!("args[{number}]")));
        }
    }
    for (name, value) in params["env"].as_object().into_iter().flatten() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("{name:?} cannot be the name of an environment variable");
            problems.push(problem("env", "name", message));
        }
        if has_nul(value) {
            problems.push(nul("env", format!("the environment variable {name}")));
        }
    }
    problems
}

/// Finds the program and puts together what it is given.
fn launch(
    isolation: &Isolation,
    params: &Value,
    base_dir: Option<&str>,
    cpu_seconds: u64,
) -> Result<Launch, ProgramFailure> {
    let directory = isolation.base_dir(base_dir);
    let roots = isolation.roots_at(&directory);
    let mut env: BTreeMap<OsString, OsString> = isolation.environment().into_iter().collect();
    for (name, value) in params["env"].as_object().into_iter().flatten() {
        env.insert(name.into(), value.as_str().unwrap_or_default().into());
    }
    let command = params["command"].as_str().unwrap_or_default();
    let program = if is_path(command) {
        in_roots(command, &roots, &directory)
    } else {
        on_path(command, env.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str))
    };
    let program = program.map_err(ProgramFailure::Refused)?;
    let walls = isolation.walls(&roots).map_err(|error| match error {
        WallsError::Impossible(error) => ProgramFailure::NoSandbox(error),
        WallsError::NotBuilt(error) => ProgramFailure::NotStarted { reason: format!("its sandbox: {error}") },
    })?;
    if let Some(walls) = &walls
        && params["env"].get("TMPDIR").is_none()
    {
        env.insert("TMPDIR".into(), walls.temporary().into());
    }
    let args = params["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let free = "texts with a NUL byte were refused";
    let text = |bytes: Vec<u8>| CString::new(bytes).expect(free);
    Ok(Launch {
        program,
        args: [command].into_iter().chain(args).map(|arg| text(arg.into())).collect(),
        env: env
            .into_iter()
            .map(|(name, value)| text([name.as_bytes(), b"=", &value.into_vec()].concat()))
            .collect(),
        directory,
        has_input: params.get("stdin").is_some(),
        memory_bytes: isolation.memory_bytes,
        cpu_seconds,
        walls,
    })
}

/// Returns the exit codes that mean success.
fn expected(params: &Value) -> Vec<i64> {
    match params.get("expect_exit") {
        None => vec![0],
        Some(Value::Array(codes)) => codes.iter().filter_map(Value::as_i64).collect(),
        Some(code) => code.as_i64().into_iter().collect(),
    }
}

fn failed(task: &Task, failure: ProgramFailure, isolation: &Isolation) -> Outcome {
    let command = task.params["command"].as_str().unwrap_or_default();
    let code = match failure {
        ProgramFailure::Refused(problem) => {
            let refused = params::refuse(task, vec![problem]);
            return refused.expect_err("there is a problem").into();
        }
        ProgramFailure::NoSandbox(mut error) => {
            error.message = format!("step '{}': {}", task.step, error.message);
            return error.with("task_id", task.step.as_str()).into();
        }
        // Whose doing it was, nobody knows.
        ProgramFailure::GuardLost => {
            return Outcome::Lost { reason: format!("program '{command}': {failure}") };
        }
        ProgramFailure::TimedOut { .. } => Code::TASK_TIMEOUT,
        ProgramFailure::NotJson { .. } => Code::TASK_RESULT_INVALID,
        ProgramFailure::Cancelled { .. } => Code::TASK_CANCELLED,
        ProgramFailure::Exit { .. }
        | ProgramFailure::Signal { .. }
        | ProgramFailure::OutputLimit { .. }
        | ProgramFailure::NotStarted { .. } => Code::TASK_EXECUTION_FAILED,
    };
    let mut error = ErrorObject::new(code, format!("step '{}': program '{command}': {failure}", task.step))
        .with("task_id", task.step.as_str())
        .with("command", command);
    match &failure {
        ProgramFailure::Exit { code, .. } => error = error.with("exit_code", *code),
        ProgramFailure::Signal { signal, .. } => error = error.with("signal", *signal),
        ProgramFailure::TimedOut { limit, .. } => error = error.with("timeout_seconds", limit.as_secs_f64()),
        ProgramFailure::OutputLimit { limit_bytes, .. } => {
            error = error.with("reason", "output_limit").with("limit_bytes", *limit_bytes);
        }
        ProgramFailure::NotJson { reason, .. } => {
            error = error.with("path", "result").with("reason", reason.as_str());
        }
        ProgramFailure::Cancelled { .. }
        | ProgramFailure::Refused(_)
        | ProgramFailure::NoSandbox(_)
        | ProgramFailure::NotStarted { .. }
        | ProgramFailure::GuardLost => {}
    }
    if let Some(printed) = failure.printed() {
        error = error.with("output", printed.output.as_str()).with("stderr", printed.stderr.as_str());
        let told = [printed.stderr.as_str(), printed.output.as_str()];
        error = isolation.explain(error, task.run.base_dir.as_deref(), &told);
    }
    Outcome::Fail(Failure {
        error,
        timed_out: matches!(failure, ProgramFailure::TimedOut { .. }),
        retry_after_ms: None,
    })
}

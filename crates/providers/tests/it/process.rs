//! Programs in real processes: every row of the contract of `process/v1`, one test per promise.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::Code;
use stepwell_core::ids::Ordinal;
use stepwell_core::status::RunStatus;
use stepwell_engine::Registry;
use stepwell_providers::Process;
use stepwell_providers::isolation::Isolation;

use crate::house::House;
use crate::support::{FAMILY, eventually, family, parent_of, pid_in, runs, signal};

async fn house() -> House {
    house_with(|_| {}).await
}

async fn house_with(change: impl FnOnce(&mut Isolation)) -> House {
    House::open("process/run", |mut isolation| {
        change(&mut isolation);
        Registry::default().provide("process/v1", Arc::new(Process::new(isolation)))
    })
    .await
}

/// Parameters of a step that runs Python code.
fn python(code: &str) -> Value {
    json!({ "command": "python3", "args": ["-c", code] })
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a new file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

// ------------------------------------------------------------------------------ what goes in and comes out

#[tokio::test]
async fn a_program_gets_its_arguments_its_input_and_its_directory_and_hands_over_what_it_prints() {
    let house = house().await;
    let code = "import os, sys; print(sys.argv[1:], sys.stdin.read(), os.getcwd(), end=''); print('aside', file=sys.stderr)";
    let params = json!({ "command": "python3", "args": ["-c", code, "a", ""], "stdin": "in\0put" });
    let view = house.success(&params, json!(null)).await;
    let expected =
        format!("['a', ''] in\0put {}", house.path("").display().to_string().trim_end_matches('/'));
    assert_eq!((view["result"].as_str(), view["output"].as_str()), (Some(&*expected), Some(&*expected)));
    assert_eq!((view["stderr"].as_str(), view["exit_code"].as_i64()), (Some("aside\n"), Some(0)));
    assert!(view["execution_time"].as_f64().expect("a number") > 0.0);
    let silent = house.success(&json!({ "command": "cat" }), json!(null)).await;
    assert_eq!(silent["result"], "", "without 'stdin' the input is empty");
}

/// spec/gleitzeit.md §8, G32: nothing of it is ever read by a shell.
#[tokio::test]
async fn whatever_an_argument_holds_is_data() {
    let house = house().await;
    let hostile = [
        "$(touch ran)",
        "`touch ran`",
        "; touch ran",
        "| touch ran",
        "'\"\\",
        "a\nb\r\tc",
        "-n",
        "--",
        "*",
        "~",
        "$HOME",
        "\u{202e}käse 🧀",
        "%s",
        "",
        " ",
    ];
    let args: Vec<&str> =
        ["-c", "import sys, json; print(json.dumps(sys.argv[1:]))"].into_iter().chain(hostile).collect();
    let view =
        house.success(&json!({"command": "python3", "args": args, "parse": "json"}), json!(null)).await;
    assert_eq!(view["result"], json!(hostile));
    // Neither is what a reference brings.
    let params = json!({"command": "printf", "args": ["%s|", "${input.x}", "x${input.x}"]});
    let view = house.success(&params, json!({"x": "$(touch ran); ${input.x}"})).await;
    assert_eq!(view["result"], "$(touch ran); ${input.x}|x$(touch ran); ${input.x}|");
    for command in ["$(touch ran)", "touch ran", "; touch ran", "-c", "touch\nran"] {
        let error = house.refused(&json!({ "command": command }));
        assert_eq!((error.code, &error.data["reason"]), (Code::INVALID_PARAMS, &json!("not_found")));
    }
    assert!(!house.path("ran").exists());
}

#[tokio::test]
async fn what_a_reference_stands_for_becomes_text_as_within_a_longer_text() {
    let house = house().await;
    let show = "import os, sys; print([sys.argv[1:], sys.stdin.read(), os.environ['V']])";
    let params = json!({
        "command": "python3", "args": ["-c", show, "${input.n}", "n=${input.n}", "${input.o}", "${input.s}"],
        "stdin": "${input.o}", "env": {"V": "${input.t}"},
    });
    let input = json!({"n": 5, "o": {"a": [1, null]}, "s": "text", "t": true});
    let view = house.success(&params, input).await;
    let object = "{\"a\":[1,null]}";
    assert_eq!(view["result"], format!("[['5', 'n=5', '{object}', 'text'], '{object}', 'true']\n"));
    let all = json!({ "command": "echo", "args": "${input.all}" });
    assert_eq!(house.success(&all, json!({"all": ["a", 2]})).await["result"], "a 2\n");
    let error = house.failure(&all, json!({"all": "a 2"})).await;
    assert_eq!((&error.data["parameter"], &error.data["reason"]), (&json!("args"), &json!("type")));
}

#[tokio::test]
async fn output_is_json_only_if_asked_for_and_then_it_must_be() {
    let house = house().await;
    let echo = |text: &str, parse: bool| {
        let mut params = json!({ "command": "printf", "args": ["%b", text] });
        if parse {
            params["parse"] = json!("json");
        }
        params
    };
    assert_eq!(house.success(&echo("[1]", false), json!(null)).await["result"], "[1]");
    let parsed = house.success(&echo(" {\"a\": [1, 2.5, null]}\\n", true), json!(null)).await;
    assert_eq!(parsed["result"], json!({"a": [1, 2.5, null]}));
    assert_eq!(parsed["output"], " {\"a\": [1, 2.5, null]}\n");
    for other in ["", "[1", "[1] [2]", "{'a': 1}", "NaN", "\"\\0377\""] {
        let error = house.failure(&echo(other, true), json!(null)).await;
        assert_eq!((error.code, error.retryable), (Code::TASK_RESULT_INVALID, false), "{other}: {error:?}");
        assert!(
            error.message.starts_with("step 'a': program 'printf': what it printed is not JSON"),
            "{error}"
        );
    }
}

/// spec/gleitzeit.md §8, G28.
#[tokio::test]
async fn output_that_is_not_utf8_keeps_its_good_parts() {
    let view = house().await.success(&json!({"command": "printf", "args": ["a\\377b"]}), json!(null)).await;
    assert_eq!(view["result"], "a\u{fffd}b");
}

#[tokio::test]
async fn the_environment_is_clean_but_for_what_is_allowed_and_what_the_step_adds() {
    let house = house_with(|isolation| isolation.env_allow = vec!["PATH".into(), "CARGO_*".into()]).await;
    let code = "import json, os; print(json.dumps(dict(os.environ)))";
    let params = json!({"command": "python3", "args": ["-c", code], "parse": "json", "env": {"ADDED": "a=b\n", "PATH": "/usr/bin:/bin"}});
    let view = house.success(&params, json!(null)).await;
    let seen = view["result"].as_object().expect("an object");
    assert_eq!((seen["ADDED"].as_str(), seen["PATH"].as_str()), (Some("a=b\n"), Some("/usr/bin:/bin")));
    let known = |name: &&String| {
        *name == "ADDED" || *name == "PATH" || name.starts_with("CARGO_") || *name == "LC_CTYPE"
    };
    assert_eq!(seen.keys().find(|name| !known(name)), None, "python itself may set LC_CTYPE");
    assert!(std::env::var_os("HOME").is_some(), "there is something that must not be seen");
}

// ------------------------------------------------------------------------------ which program

#[tokio::test]
async fn a_program_is_found_on_the_path_or_inside_the_roots() {
    let house = house().await;
    fs::create_dir(house.path("bin")).expect("a new directory");
    executable(&house.path("bin/tool"), "#!/bin/sh\necho \"$0\" \"$@\"\n");
    let tool = house.path("bin/tool");
    for command in ["bin/tool", "./bin/tool", tool.to_str().expect("text")] {
        let view = house.success(&json!({"command": command, "args": ["-x"]}), json!(null)).await;
        assert_eq!(view["result"], format!("{} -x\n", tool.display()));
    }
    let by_name = json!({"command": "tool", "env": {"PATH": house.path("bin").display().to_string() + ":/usr/bin:/bin"}});
    assert_eq!(house.success(&by_name, json!(null)).await["exit_code"], 0);
    // What a step sees on its own path is no secret to its definition.
    let error = house.refused(&json!({"command": "tool"}));
    assert_eq!(error.data["reason"], "not_found");
    let later = json!({"command": "${input.c}"});
    let error = house.failure(&later, json!({"c": "no-such-program"})).await;
    assert_eq!((error.code, &error.data["reason"]), (Code::INVALID_PARAMS, &json!("not_found")));
}

/// spec/gleitzeit.md §8, G33.
#[tokio::test]
async fn what_lies_outside_the_roots_or_cannot_be_executed_is_refused_with_the_reason() {
    let house = house().await;
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let outside = elsewhere.path().join("tool");
    executable(&outside, "#!/bin/sh\ntouch ran\n");
    std::os::unix::fs::symlink(&outside, house.path("link")).expect("a new link");
    fs::write(house.path("plain"), "#!/bin/sh\ntouch ran\n").expect("a new file");
    executable(&house.path("no-shebang"), "touch ran\n");
    executable(&house.path("no-interpreter"), "#!/no/such/interpreter\ntouch ran\n");
    fs::create_dir(house.path("folder")).expect("a new directory");
    for (command, reason) in [
        (outside.to_str().expect("text"), "outside_roots"),
        ("./link", "outside_roots"),
        ("../../bin/true", "outside_roots"),
        ("./missing", "not_found"),
        ("./plain", "not_executable"),
        ("./folder", "not_executable"),
        ("./no-shebang", "not_executable"),
        ("./no-interpreter", "not_executable"),
        ("", "empty"),
        ("nul\0", "nul"),
    ] {
        let error = house.failure(&json!({"command": "${input.c}"}), json!({ "c": command })).await;
        assert_eq!(
            (error.code, &error.data["reason"]),
            (Code::INVALID_PARAMS, &json!(reason)),
            "{command}: {error}"
        );
        assert_eq!((&error.data["parameter"], error.retryable), (&json!("command"), false));
    }
    assert!(!house.path("ran").exists());
}

#[tokio::test]
async fn what_no_program_can_be_given_is_refused_before_anything_runs() {
    let house = house().await;
    for (params, parameter, reason) in [
        (json!({"command": "true", "args": ["a", "b\0c"]}), "args", "nul"),
        (json!({"command": "true", "env": {"A": "\0"}}), "env", "nul"),
        (json!({"command": "true", "env": {"A=B": "1"}}), "env", "name"),
        (json!({"command": "true", "env": {"": "1"}}), "env", "name"),
        (json!({"command": "true", "args": "-x"}), "args", "type"),
        (json!({"command": "true", "args": [1]}), "args", "type"),
        (json!({"command": "true", "expect_exit": 256}), "expect_exit", "range"),
        (json!({"command": "true", "parse": "yaml"}), "parse", "unknown"),
        (json!({"command": "true", "timeout": 0}), "timeout", "range"),
        (json!({"command": "true", "shell": true}), "shell", "unknown"),
        (json!({"args": []}), "command", "missing"),
    ] {
        let error = house.refused(&params);
        let problem = &error.data;
        assert_eq!(
            (error.code, &problem["parameter"], &problem["reason"]),
            (Code::INVALID_PARAMS, &json!(parameter), &json!(reason)),
            "{params}"
        );
    }
    let error = house
        .failure(&json!({"command": "true", "args": ["${input.x}"]}), json!({"x": "x".repeat(200 << 10)}))
        .await;
    assert_eq!((error.code, &error.data["reason"]), (Code::INVALID_PARAMS, &json!("too_long")));
}

// ------------------------------------------------------------------------------ how it ends

#[tokio::test]
async fn an_exit_code_that_is_not_expected_fails_and_tells_code_and_output() {
    let house = house().await;
    let code = "import sys; print('said'); print('first\\nthe reason\\n', file=sys.stderr); sys.exit(3)";
    let error = house.failure(&python(code), json!(null)).await;
    assert_eq!((error.code, error.retryable), (Code::TASK_EXECUTION_FAILED, true));
    assert_eq!(error.message, "step 'a': program 'python3': it exited with code 3: the reason");
    assert_eq!((&error.data["exit_code"], &error.data["output"]), (&json!(3), &json!("said\n")));
    for (expected, holds) in [(json!(3), true), (json!([0, 3]), true), (json!([0, 1]), false)] {
        let mut params = python("raise SystemExit(3)");
        params["expect_exit"] = expected;
        let run = house.run(&house.step(&params), json!(null)).await;
        assert_eq!(run.status() == RunStatus::Completed, holds, "{params}");
    }
}

#[tokio::test]
async fn a_signal_is_told_by_its_number() {
    let house = house().await;
    for (signal, name) in [(9, "KILL"), (11, "SEGV"), (15, "TERM")] {
        let error =
            house.failure(&python(&format!("import os; os.kill(os.getpid(), {signal})")), json!(null)).await;
        assert_eq!(
            (error.code, &error.data["signal"]),
            (Code::TASK_EXECUTION_FAILED, &json!(signal)),
            "{name}"
        );
        assert!(!error.data.contains_key("exit_code"));
    }
}

/// spec/gleitzeit.md §8, G27.
#[tokio::test]
async fn endless_output_is_cut_at_the_limit_and_killed() {
    let house = house_with(|isolation| isolation.output_limit = 100_000).await;
    let error = house.failure(&json!({ "command": "yes" }), json!(null)).await;
    assert_eq!((error.code, &error.data["reason"]), (Code::TASK_EXECUTION_FAILED, &json!("output_limit")));
    assert_eq!(error.data["output"].as_str().map(str::len), Some(100_000));
}

/// spec/gleitzeit.md §8, G34.
#[tokio::test]
async fn memory_processor_time_and_core_dumps_are_limited() {
    let house = house_with(|isolation| isolation.memory_bytes = 256 << 20).await;
    let error = house.failure(&python("x = bytearray(400 << 20)"), json!(null)).await;
    assert!(error.message.ends_with("it exited with code 1: MemoryError"), "{error}");
    let code = "import resource as r; print([r.getrlimit(k) for k in (r.RLIMIT_CORE, r.RLIMIT_CPU)])";
    let mut params = python(code);
    params["timeout"] = json!(9);
    let cores = std::thread::available_parallelism().expect("known").get();
    let cpu = 10 * cores;
    assert_eq!(
        house.success(&params, json!(null)).await["result"],
        format!("[(0, 0), ({cpu}, {})]\n", cpu + 1)
    );
}

#[tokio::test]
async fn memory_that_is_only_reserved_is_not_counted() {
    let house = house_with(|isolation| isolation.memory_bytes = 256 << 20).await;
    let reserve = "import mmap; mmap.mmap(-1, 8 << 30, prot=0); print('ok')";
    assert_eq!(house.success(&python(reserve), json!(null)).await["result"], "ok\n");
}

#[tokio::test]
async fn a_timeout_kills_and_is_told_with_what_was_printed() {
    let house = house().await;
    let params = json!({"command": "sh", "args": ["-c", "echo began; exec sleep 60"], "timeout": 2});
    let run = house.run(&house.step(&params), json!(null)).await;
    let error = run.error().expect("it failed");
    assert_eq!((error.code, &error.data["timeout_seconds"]), (Code::TASK_TIMEOUT, &json!(2.0)));
    assert_eq!((&error.data["task_id"], &error.data["output"]), (&json!("a"), &json!("began\n")));
    assert_eq!(run.execution("a", Ordinal(1)).expect("attempted").status.as_str(), "timed_out");
}

/// spec/gleitzeit.md §8, G24: so none writes a file a second later, not even from a session of its own.
#[tokio::test]
async fn descendants_are_gone_after_every_kind_of_end() {
    for (ending, code) in [
        ("print('done')", None),
        ("sys.exit(1)", Some(Code::TASK_EXECUTION_FAILED)),
        ("os.kill(os.getpid(), 9)", Some(Code::TASK_EXECUTION_FAILED)),
        ("time.sleep(60)", Some(Code::TASK_TIMEOUT)),
        ("os.write(1, b'x' * (200 << 10)); time.sleep(60)", Some(Code::TASK_EXECUTION_FAILED)),
    ] {
        let house = house_with(|isolation| isolation.output_limit = 100_000).await;
        let mut params = python(&format!("{FAMILY}{ending}"));
        if code == Some(Code::TASK_TIMEOUT) {
            params["timeout"] = json!(8);
        }
        let run = house.run(&house.step(&params), json!(null)).await;
        assert_eq!(run.error().map(|error| error.code), code, "{ending}: {:?}", run.error());
        for pid in family(&house.path("")) {
            assert!(!runs(pid), "{ending}: process {pid} still runs");
        }
    }
}

/// spec/gleitzeit.md §8, G29.
#[tokio::test]
async fn cancelling_a_run_ends_its_program_and_its_descendants() {
    let house = house().await;
    let code = format!("{FAMILY}open('own', 'w').write(str(os.getpid()))\ntime.sleep(60)");
    let run = house.start(&house.step(&python(&code)), json!(null)).await;
    let own = pid_in(&house.path("own")).await;
    let all = [own, parent_of(own)].into_iter().chain(family(&house.path(""))).collect::<Vec<_>>();
    house.engine.cancel(&run, None).await.expect("it can be cancelled");
    assert_eq!(house.rest(&run).await.status(), RunStatus::Cancelled);
    eventually("all are gone", || all.iter().all(|pid| !runs(*pid))).await;
}

// ------------------------------------------------------------------------------ what surrounds it

/// spec/gleitzeit.md §8, G34.
#[tokio::test]
async fn no_descriptor_of_the_engine_is_open_in_a_program_and_it_leads_its_own_session() {
    let house = house().await;
    let open = fs::File::open("/dev/null").expect("it opens");
    let inherited = open.try_clone().expect("a copy");
    leave_open_in_children(&inherited);
    let code = "import os, signal
fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))
print([fds[:3], len(fds), os.getpid() == os.getsid(0) == os.getpgid(0), signal.getsignal(signal.SIGPIPE) is not None])
print(open('/proc/self/status').read())";
    let view = house.success(&python(code), json!(null)).await;
    let told = view["result"].as_str().expect("text");
    // The fourth is the one by which the list is read.
    assert!(told.starts_with("[[0, 1, 2], 4, True, True]"), "{told}");
    let line =
        |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned();
    assert_eq!(line("SigBlk:"), "0000000000000000");
}

#[expect(unsafe_code, reason = "std opens nothing that children inherit")]
fn leave_open_in_children(file: &fs::File) {
    use std::os::fd::AsRawFd as _;
    // SAFETY: only a flag of a descriptor that is open is changed.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }, 0);
}

#[tokio::test]
async fn large_input_and_output_pass_side_by_side() {
    let house = house().await;
    let text = "line of text\n".repeat(300_000);
    let view = house.success(&json!({"command": "cat", "stdin": "${input.t}"}), json!({ "t": text })).await;
    assert_eq!(view["result"].as_str().map(str::len), Some(text.len()));
    let unread =
        house.success(&json!({"command": "true", "stdin": "${input.t}"}), json!({ "t": text })).await;
    assert_eq!(unread["exit_code"], 0, "input need not be read");
}

#[tokio::test]
async fn a_program_that_kills_its_guard_dies_with_all_that_it_started_and_its_attempt_is_lost() {
    let house = house().await;
    let code = format!(
        "import os, signal, time
open('attempts', 'a').write('x')
if os.path.getsize('attempts') == 1:
    exec({FAMILY:?})
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)"
    );
    let run = house.run(&house.step(&python(&code)), json!(null)).await;
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error());
    assert_eq!(run.execution("a", Ordinal(1)).expect("attempted").attempts, 2);
    for pid in family(&house.path("")) {
        assert!(!runs(pid), "process {pid} still runs");
    }
}

#[tokio::test]
async fn a_guard_that_was_stopped_still_kills_in_time() {
    let house = house().await;
    let code = format!("{FAMILY}import signal\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(60)");
    let mut params = python(&code);
    params["timeout"] = json!(8);
    let error = house.failure(&params, json!(null)).await;
    assert_eq!(error.code, Code::TASK_TIMEOUT);
    for pid in family(&house.path("")) {
        assert!(!runs(pid), "process {pid} still runs");
    }
}

#[tokio::test]
async fn programs_that_keep_forking_are_gone_in_the_end() {
    let house = house().await;
    let code = "import os, time
open('own', 'w').write(str(os.getpid()))
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork(): os._exit(0)
            time.sleep(0.001)
time.sleep(60)";
    let mut params = python(code);
    params["timeout"] = json!(1);
    let error = house.failure(&params, json!(null)).await;
    assert_eq!(error.code, Code::TASK_TIMEOUT);
    let home = house.path("");
    eventually("nobody works in the directory", || working_in(&home).is_empty()).await;
}

/// Returns the processes whose working directory that is.
fn working_in(directory: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").expect("it is mounted").flatten().map(|entry| entry.path());
    let directory = directory.canonicalize().expect("it exists");
    all.filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == directory)).collect()
}

#[tokio::test]
async fn a_base_directory_that_is_gone_is_named_and_nothing_runs() {
    let house = house_with(|isolation| isolation.roots = vec!["/no/such/directory".into()]).await;
    let error = house.failure(&json!({"command": "true"}), json!(null)).await;
    assert!(error.message.contains("its directory /no/such/directory"), "{error}");
}

/// spec/gleitzeit.md §8, G24: also if this process is killed.
#[tokio::test]
async fn when_the_engine_is_killed_its_programs_die_with_all_they_started() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut engine = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "process::stands_in_for_an_engine", "--ignored", "--nocapture"])
        .env("STEPWELL_TEST_DIRECTORY", directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut found = Vec::new();
    for name in ["plain", "session", "daemon", "own"] {
        found.push(pid_in(&directory.path().join(name)).await);
    }
    found.push(parent_of(found[3]));
    assert!(found.iter().all(|pid| runs(*pid)));
    signal(i64::from(engine.id()), "KILL");
    engine.wait().expect("it was ours");
    eventually("all processes are gone", || found.iter().all(|pid| !runs(*pid))).await;
}

#[tokio::test]
#[ignore = "not a test: the program that the test above kills"]
async fn stands_in_for_an_engine() {
    let directory = PathBuf::from(std::env::var_os("STEPWELL_TEST_DIRECTORY").expect("set by the test"));
    let house = house_with(|isolation| isolation.roots = vec![directory]).await;
    let code = format!("{FAMILY}open('own', 'w').write(str(os.getpid()))\ntime.sleep(60)");
    let _killed = house.run(&house.step(&python(&code)), json!(null)).await;
}

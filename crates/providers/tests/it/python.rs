//! Scripts in real interpreters: every row of the contract of `python/v1`, one test per promise.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepwell_providers::files::FileError;
use stepwell_providers::python::{
    PythonFailure, PythonOutcome, PythonPool, PythonSettings, PythonTask, Raised, Source,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{FAMILY, eventually, family, kill, parent_of, pid_in, runs, signal, within};

/// A pool with a directory of its own, which is also its root and where scripts start.
struct Bench {
    pool: PythonPool,
    directory: TempDir,
}

fn bench() -> Bench {
    bench_with(|_| {})
}

fn bench_with(change: impl FnOnce(&mut PythonSettings)) -> Bench {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = PythonSettings { isolation: within(&directory), ..PythonSettings::default() };
    change(&mut settings);
    Bench { pool: PythonPool::new(settings), directory }
}

impl Bench {
    /// The directory as the system names it.
    fn home(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("the directory exists")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    fn code(&self, code: &str) -> PythonTask {
        PythonTask {
            source: Source::Code(code.to_owned()),
            args: json!({}),
            bindings: Vec::new(),
            timeout: Duration::from_secs(30),
            base_dir: self.directory.path().to_owned(),
            alone: false,
        }
    }

    async fn run(&self, task: PythonTask) -> Result<PythonOutcome, PythonFailure> {
        self.pool.run(task, CancellationToken::new()).await
    }

    async fn ok(&self, code: &str) -> PythonOutcome {
        match self.run(self.code(code)).await {
            Ok(outcome) => outcome,
            Err(failure) => panic!("{code}\nfailed: {failure:?}"),
        }
    }

    async fn fail(&self, code: &str) -> PythonFailure {
        match self.run(self.code(code)).await {
            Ok(outcome) => panic!("{code}\nended well: {outcome:?}"),
            Err(failure) => failure,
        }
    }

    /// Starts code in the background; the token cancels it.
    fn start(
        &self,
        task: PythonTask,
    ) -> (tokio::task::JoinHandle<Result<PythonOutcome, PythonFailure>>, CancellationToken) {
        let (pool, cancel) = (self.pool.clone(), CancellationToken::new());
        let token = cancel.clone();
        (tokio::spawn(async move { pool.run(task, token).await }), cancel)
    }
}

fn printed(failure: &PythonFailure) -> (&str, &str) {
    let printed = failure.printed().expect("the script ran");
    (&printed.output, &printed.stderr)
}

// ------------------------------------------------------------------------------ results

/// G3.
#[tokio::test]
async fn every_json_type_goes_in_and_comes_back_unchanged() {
    let bench = bench();
    let values = json!({
        "null": null, "true": true, "false": false, "zero": 0, "smallest": i64::MIN, "largest": u64::MAX,
        "float": 1.0, "tiny": 5e-324, "huge": 1.797_693_134_862_315_7e308, "third": 0.1 + 0.2, "minus": -0.0,
        "text": "käse 🧀 \u{0} \" \\ \n \u{2028}", "": "empty key", "list": [1, [2.5, ["x", null]], []],
        "object": {"b": 1, "a": {"nested": {}}},
    });
    let mut task = bench.code("assert args is context\nresult = {'args': args, 'bound': [one, __two]}");
    task.args = values.clone();
    task.bindings = vec![("one".into(), json!(4.0)), ("__two".into(), json!({"k": [true]}))];
    let outcome = bench.run(task).await.expect("ends well");
    assert_eq!(outcome.result["args"].to_string(), values.to_string());
    assert_eq!(outcome.result["bound"], json!([4.0, {"k": [true]}]));
    let root = bench.ok("import math; result = math.sqrt(16)").await;
    assert!(root.result.is_f64() && root.result == json!(4.0) && root.execution_time > 0.0);
}

#[tokio::test]
async fn tuples_become_lists_and_keys_become_text_as_in_pythons_json() {
    let bench = bench();
    let code = "import collections, enum
class Colour(str, enum.Enum): RED = 'red'
P = collections.namedtuple('P', 'x y')
result = {'t': (1, (2,)), 'p': P(1, 2), 'e': Colour.RED, 'o': collections.OrderedDict(a=1),
          'k': {1: 'i', 2.5: 'f', True: 'b', None: 'n'}}";
    let expected = json!({
        "t": [1, [2]], "p": [1, 2], "e": "red", "o": {"a": 1},
        // In Python 1 == True: the two are one key, and it stays the first of them.
        "k": {"1": "b", "2.5": "f", "null": "n"},
    });
    assert_eq!(bench.ok(code).await.result, expected);
}

/// G3.
#[tokio::test]
async fn printed_json_does_not_touch_the_result() {
    let bench = bench();
    let outcome = bench.ok("print('{\"result\": 1}')\nresult = 2\nprint('{\"result\": 3}')").await;
    assert_eq!(outcome.result, json!(2));
    assert_eq!(outcome.output, "{\"result\": 1}\n{\"result\": 3}\n");
    let unset = bench.ok("print('[1]')\nimport sys; sys.stderr.write('aside')").await;
    assert_eq!((unset.result, unset.stderr.as_str()), (Value::Null, "aside"));
}

/// G28.
#[tokio::test]
async fn what_json_cannot_keep_is_refused_with_its_place_and_the_reason() {
    let bench = bench();
    for (value, place, reason) in [
        ("float('nan')", "result", "nan is not a JSON number"),
        ("[1.0, float('inf')]", "result[1]", "inf is not a JSON number"),
        ("{'a': [{'b c': -float('inf')}]}", "result.a[0][\"b c\"]", "-inf is not"),
        ("b'x'", "result", "bytes is not a JSON type"),
        ("{'rows': [1, {1, 2}]}", "result.rows[1]", "set is not a JSON type"),
        ("__import__('datetime').date.today()", "result", "date is not a JSON type"),
        ("1 + 2j", "result", "complex is not a JSON type"),
        ("[0, 2**64]", "result[1]", "an integer outside"),
        ("-2**63 - 1", "result", "an integer outside"),
        ("10**5000", "result", "an integer outside"),
        ("{'s': ['ok', '\\ud800']}", "result.s[1]", "lone surrogate"),
        ("{'\\udfff': 1}", "result[\"\\udfff\"]", "lone surrogate"),
        ("{1: 'a', '1': 'b'}", "result", "two keys become the same text '1'"),
        ("{None: 'a', 'null': 'b'}", "result", "two keys become the same text 'null'"),
        ("{(1, 2): 'a'}", "result", "a key of type tuple"),
        ("{float('nan'): 1}", "result", "the key nan"),
    ] {
        let failure = bench.fail(&format!("print('said')\nresult = {value}")).await;
        let PythonFailure::ResultInvalid { path, reason: said, printed } = &failure else {
            panic!("{value}: {failure:?}");
        };
        assert_eq!(path, place, "{value}");
        assert!(said.contains(reason), "{value}: {said}");
        assert_eq!(printed.output, "said\n", "{value}");
        assert!(!failure.is_retryable());
    }
}

#[tokio::test]
async fn a_cycle_and_endless_nesting_are_refused() {
    let bench = bench();
    for (code, reason) in [
        ("result = []; result.append(result)", "contains itself"),
        ("result = {}; result['a'] = [result]", "contains itself"),
        ("result = []\nfor _ in range(100000): result = [result]", "nested deeper than 100"),
    ] {
        let failure = bench.fail(code).await;
        assert!(failure.to_string().contains(reason), "{code}: {failure}");
    }
    let twice = bench.ok("part = [1]; result = [part, part]").await;
    assert_eq!(twice.result, json!([[1], [1]]), "the same list twice is no cycle");
    let deep = bench.ok("result = 0\nfor _ in range(100): result = [result]").await;
    assert!(deep.result.is_array());
}

/// G27.
#[tokio::test]
async fn a_result_of_twenty_megabytes_comes_back_whole() {
    let bench = bench();
    let outcome = bench.ok("result = ['x' * 1000] * 20000").await;
    let rows = outcome.result.as_array().expect("a list");
    assert_eq!(rows.len(), 20_000);
    assert!(rows.iter().all(|row| row.as_str().is_some_and(|text| text.len() == 1000)));
    let mut task = bench.code("result = len(args['text'])");
    task.args = json!({"text": "y".repeat(20_000_000)});
    assert_eq!(bench.run(task).await.expect("ends well").result, json!(20_000_000));
}

/// G27.
#[tokio::test]
async fn a_result_over_the_limit_is_refused_and_the_pool_goes_on() {
    let bench = bench_with(|settings| settings.result_limit = 1000);
    let failure = bench.fail("result = 'x' * 1000").await;
    assert!(matches!(failure, PythonFailure::ResultInvalid { .. }), "{failure:?}");
    assert!(failure.to_string().contains("1002 bytes as JSON are over the limit of 1000"), "{failure}");
    assert_eq!(bench.ok("result = 'x' * 998").await.result, json!("x".repeat(998)));
    // A script that writes to the channel itself is stopped at the limit, too.
    let flood = bench.fail("import os\nwhile True: os.write(3, b'x' * 65536)").await;
    assert!(matches!(flood, PythonFailure::ResultInvalid { .. }), "{flood:?}");
}

// ------------------------------------------------------------------------------ ends

/// G28.
#[tokio::test]
async fn leaving_with_zero_keeps_the_result_and_other_codes_fail() {
    let bench = bench();
    for leave in ["sys.exit(0)", "sys.exit()", "sys.exit(None)", "raise SystemExit"] {
        let outcome = bench.ok(&format!("import sys\nresult = 7\n{leave}\nresult = 8")).await;
        assert_eq!(outcome.result, json!(7), "{leave}");
    }
    for (leave, expected) in [("sys.exit(3)", 3), ("sys.exit(-1)", -1), ("os._exit(9)", 9)] {
        let failure = bench.fail(&format!("import os, sys\nprint('so far')\nresult = 7\n{leave}")).await;
        assert!(matches!(failure, PythonFailure::Exit { code, .. } if code == expected), "{failure:?}");
        assert_eq!(printed(&failure).0, "so far\n", "{leave}");
    }
    let said = bench.fail("import sys; sys.exit('no such table')").await;
    assert!(matches!(said, PythonFailure::Exit { code: 1, .. }), "{said:?}");
    assert_eq!(printed(&said).1, "no such table\n");
}

#[tokio::test]
async fn an_end_that_hands_nothing_over_is_never_a_result() {
    let bench = bench();
    for code in [
        "import os\nresult = 7\nos._exit(0)",
        "import os\nresult = 7\nos.execv('/bin/true', ['true'])",
        "import os\nresult = 7\nos.close(3)",
        "import os\nresult = 7\nos.write(3, b'R' * 40)",
    ] {
        let failure = bench.fail(code).await;
        assert!(matches!(failure, PythonFailure::ResultInvalid { .. }), "{code}: {failure:?}");
    }
}

#[tokio::test]
async fn a_file_that_takes_the_channels_number_stays_untouched() {
    let bench = bench();
    bench.fail("import os\nos.close(3)\nf = open('mine', 'w')\nassert f.fileno() == 3\nresult = 1").await;
    assert_eq!(fs::read_to_string(bench.path("mine")).expect("written"), "");
}

#[tokio::test]
async fn an_exception_carries_type_text_traceback_and_what_was_printed() {
    let bench = bench();
    let code = "import json, sys
def inner(text):
    return json.loads(text)
print('before'); print('aside', file=sys.stderr)
inner('{')";
    let failure = bench.fail(code).await;
    let PythonFailure::Exception { raised, printed } = &failure else { panic!("{failure:?}") };
    assert_eq!(raised.exception_type, "json.decoder.JSONDecodeError");
    assert!(raised.message.starts_with("Expecting property name"), "{}", raised.message);
    assert!(raised.traceback.starts_with("Traceback (most recent call last):\n  File \"<code>\", line 5"));
    assert!(
        raised.traceback.contains("line 3, in inner\n    return json.loads(text)"),
        "{}",
        raised.traceback
    );
    assert!(!raised.traceback.contains("forkserver"), "{}", raised.traceback);
    assert_eq!((printed.output.as_str(), printed.stderr.as_str()), ("before\n", "aside\n"));
    assert!(failure.is_retryable());
}

#[tokio::test]
async fn an_exception_that_cannot_be_shown_is_still_an_exception() {
    let bench = bench();
    let unshowable = "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd";
    for (code, name) in [
        (unshowable, "Odd"),
        ("raise ValueError('\\ud800')", "ValueError"),
        ("raise ValueError('x' * 50_000_000)", "ValueError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ] {
        let failure = bench.fail(code).await;
        let PythonFailure::Exception { raised, .. } = &failure else { panic!("{failure:?}") };
        assert_eq!(raised.exception_type, name);
        assert!(raised.traceback.len() < 1_000_000);
    }
}

#[tokio::test]
async fn invalid_python_is_told_with_its_line_and_never_retried() {
    let bench = bench();
    fs::write(bench.path("broken.py"), "\nx = (\n").expect("a new file");
    for (code, at) in [
        ("x = 1\ndef f(:\n", Some(2)),
        ("if True:\nx = 1", Some(2)),
        ("import sys; sys.path.insert(0, '.')\nimport broken", Some(2)),
        ("x = 'a\0b'", None),
    ] {
        let failure = bench.fail(code).await;
        let PythonFailure::Syntax { raised, .. } = &failure else { panic!("{code}: {failure:?}") };
        let Raised { line, traceback, .. } = raised.as_ref();
        assert!(at.is_none() || *line == at, "{code}: {line:?}");
        assert!(!traceback.contains("forkserver"), "{traceback}");
        assert!(!failure.is_retryable());
    }
}

/// G28.
#[tokio::test]
async fn a_signal_is_told_by_its_number() {
    let bench = bench();
    for (code, number) in [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 11),
        ("import ctypes; ctypes.string_at(0)", 11),
        ("import os; os.abort()", 6),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 15),
    ] {
        let failure = bench.fail(&format!("print('said')\nresult = 1\n{code}")).await;
        assert!(matches!(failure, PythonFailure::Signal { signal, .. } if signal == number), "{failure:?}");
        assert_eq!(printed(&failure).0, "said\n", "{code}");
    }
}

#[tokio::test]
async fn threads_and_exit_handlers_of_a_script_run_to_their_end() {
    let bench = bench();
    let code = "import atexit, threading, time
def late():
    time.sleep(0.05)
    global result
    result = 'set by a thread'
    print('thread')
atexit.register(print, 'atexit')
threading.Thread(target=late).start()
print('main')";
    let outcome = bench.ok(code).await;
    assert_eq!(outcome.result, json!("set by a thread"));
    assert_eq!(outcome.output, "main\nthread\natexit\n");
}

#[tokio::test]
async fn a_fork_of_the_script_that_falls_off_its_end_does_not_answer_twice() {
    let bench = bench();
    let code = "import os\npid = os.fork()\nresult = 'child' if pid == 0 else 'script'
if pid: os.waitpid(pid, 0)";
    assert_eq!(bench.ok(code).await.result, json!("script"));
}

// ------------------------------------------------------------------------------ output

/// G27.
#[tokio::test]
async fn endless_output_is_cut_at_the_limit_and_killed() {
    let bench = bench_with(|settings| settings.isolation.output_limit = 100_000);
    let mixed = "import sys\nwhile True:\n    print('x' * 999); print('y' * 999, file=sys.stderr)";
    for code in ["while True: print('x' * 999)", mixed, "import os\nwhile True: os.write(2, b'z' * 4096)"] {
        let failure = bench.fail(code).await;
        assert!(matches!(failure, PythonFailure::OutputLimit { limit_bytes: 100_000, .. }), "{failure:?}");
        let (output, stderr) = printed(&failure);
        assert_eq!(output.len() + stderr.len(), 100_000);
    }
    assert_eq!(bench.ok("print('x' * 99_999)").await.output.len(), 100_000, "exactly the limit passes");
    let over = bench.fail("print('x' * 100_000)").await;
    assert!(matches!(over, PythonFailure::OutputLimit { .. }), "{over:?}");
}

/// G28.
#[tokio::test]
async fn output_that_is_not_utf8_keeps_its_good_parts() {
    let bench = bench();
    let outcome =
        bench.ok("import os, sys\nos.write(1, b'a\\xff\\xfeb\\n')\nprint('\\udc80')\nresult = 1").await;
    assert_eq!(outcome.output, "a\u{fffd}\u{fffd}b\n\u{fffd}\n");
    assert_eq!(outcome.result, json!(1));
}

/// G28.
#[tokio::test]
async fn a_closed_stdout_harms_nothing() {
    let bench = bench();
    for close in [
        "sys.stdout.close()",
        "os.close(1)",
        "os.close(0); os.close(1); os.close(2)",
        "sys.stdout = sys.stderr = None",
        "print('never flushed', end=''); os.close(1)",
    ] {
        let outcome = bench.ok(&format!("import os, sys\nprint('said')\n{close}\nresult = 5")).await;
        assert_eq!((outcome.result, outcome.output.as_str()), (json!(5), "said\n"), "{close}");
    }
}

// ------------------------------------------------------------------------------ files

#[tokio::test]
async fn a_file_runs_as_main_with_its_own_directory_first() {
    let bench = bench();
    fs::create_dir(bench.path("scripts")).expect("a new directory");
    fs::write(bench.path("scripts/helper.py"), "VALUE = 41").expect("a new file");
    let script = "import helper, os, sys
result = dict(name=__name__, file=__file__, first=sys.path[0], cwd=os.getcwd(), argv=sys.argv,
              n=helper.VALUE + args['n'], stdin=sys.stdin.read(), main=sys.modules['__main__'].__file__,
              reference='${not.scanned}')";
    fs::write(bench.path("scripts/job.py"), script).expect("a new file");
    let mut task = bench.code("");
    task.source = Source::File("scripts/job.py".into());
    task.args = json!({"n": 1});
    let outcome = bench.run(task).await.expect("ends well");
    let path = bench.path("scripts/job.py");
    assert_eq!(
        outcome.result,
        json!({
            "name": "__main__", "file": path, "first": bench.path("scripts"), "cwd": bench.home(),
            "argv": [path], "n": 42, "stdin": "", "main": path, "reference": "${not.scanned}",
        })
    );
}

#[tokio::test]
async fn a_files_traceback_shows_its_lines_and_its_encoding_is_kept() {
    let bench = bench();
    fs::write(bench.path("old.py"), b"# -*- coding: latin-1 -*-\nresult = '\xe4'\nraise OSError(result)")
        .expect("a new file");
    let mut task = bench.code("");
    task.source = Source::File(bench.path("old.py"));
    let failure = bench.run(task).await.expect_err("raises");
    let PythonFailure::Exception { raised, .. } = &failure else { panic!("{failure:?}") };
    assert_eq!((raised.exception_type.as_str(), raised.message.as_str()), ("OSError", "ä"));
    let place =
        format!("{}\", line 3, in <module>\n    raise OSError(result)", bench.path("old.py").display());
    assert!(raised.traceback.contains(&place), "{}", raised.traceback);
}

/// G32.
#[tokio::test]
async fn hostile_file_names_are_only_names() {
    use std::os::unix::ffi::OsStrExt as _;
    let bench = bench();
    let names: [&[u8]; 6] =
        [b"it's.py", b"a\nb.py", b"; touch x.py", b"$(touch y).py", b"-c.py", b"\xff\xfe${x}\".py"];
    for name in names {
        let path = bench.home().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "import os; result = list(os.fsencode(__file__))").expect("a new file");
        let mut task = bench.code("");
        task.source = Source::File(path.clone());
        let outcome = bench.run(task).await.expect("ends well");
        assert_eq!(
            outcome.result,
            json!(bench.home().join(path.file_name().expect("a name")).as_os_str().as_bytes())
        );
    }
}

/// G33.
#[tokio::test]
async fn a_file_outside_the_roots_never_runs() {
    let (bench, elsewhere) = (bench(), tempfile::tempdir().expect("a temporary directory"));
    let outside = elsewhere.path().join("outside.py");
    fs::write(&outside, "open('ran', 'w')").expect("a new file");
    std::os::unix::fs::symlink(&outside, bench.path("link.py")).expect("a new link");
    for path in [outside, "link.py".into(), "/etc/passwd".into()] {
        let mut task = bench.code("");
        task.source = Source::File(path);
        let failure = bench.run(task).await.expect_err("refused");
        assert!(matches!(failure, PythonFailure::File(FileError::OutsideRoots { .. })), "{failure:?}");
        assert!(!failure.is_retryable());
    }
    assert!(!bench.path("ran").exists());
}

// ------------------------------------------------------------------------------ limits

/// G34.
#[tokio::test]
async fn memory_over_the_limit_is_told_as_such() {
    let bench = bench_with(|settings| settings.isolation.memory_bytes = 256 << 20);
    for code in [
        "x = bytearray(400 << 20)",
        "x = []\nwhile True: x.append('y' * 1000 + str(len(x)))",
        "result = ['x' * 1000000] * 200",
    ] {
        let failure = bench.fail(&format!("print('said')\n{code}")).await;
        assert!(matches!(failure, PythonFailure::Memory { .. }), "{code}: {failure:?}");
        assert_eq!(printed(&failure).0, "said\n");
    }
    let outcome = bench.ok("try: bytearray(400 << 20)\nexcept MemoryError: result = 'went on'").await;
    assert_eq!(outcome.result, json!("went on"));
}

/// G34.
#[tokio::test]
async fn memory_processor_time_and_core_dumps_are_limited_in_a_task() {
    let bench = bench_with(|settings| settings.isolation.memory_bytes = 1 << 30);
    let mut task = bench.code(
        "import resource as r\nresult = [r.getrlimit(k)[0] for k in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_CORE)]",
    );
    task.timeout = Duration::from_secs(9);
    let cores = std::thread::available_parallelism().expect("cores can be counted").get();
    assert_eq!(bench.run(task).await.expect("ends well").result, json!([1 << 30, 10 * cores, 0]));
}

#[tokio::test]
async fn a_timeout_ends_the_script_in_time_and_keeps_what_it_printed() {
    let bench = bench();
    bench.ok("").await;
    for code in [
        "while True: pass",
        "import time; time.sleep(60)",
        "import signal, time\nfor s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(60)",
    ] {
        let mut task = bench.code(&format!("print('began')\n{code}"));
        task.timeout = Duration::from_millis(300);
        let begun = Instant::now();
        let failure = bench.run(task).await.expect_err("takes too long");
        assert!(begun.elapsed() < Duration::from_secs(30), "{code}: not ended by its time limit");
        assert!(matches!(failure, PythonFailure::TimedOut { .. }), "{failure:?}");
        assert_eq!(printed(&failure).0, "began\n", "{code}");
    }
}

#[tokio::test]
async fn descendants_are_gone_after_every_kind_of_end() {
    for (ending, what) in [
        ("result = 1", "ends well"),
        ("raise ValueError", "raises"),
        ("os.kill(os.getpid(), 11)", "crashes"),
        ("os._exit(0)", "leaves"),
        ("time.sleep(60)", "times out"),
        ("while True: print('x' * 9999)", "prints too much"),
    ] {
        let bench = bench();
        let mut task = bench.code(&format!("{FAMILY}{ending}"));
        if what == "times out" {
            task.timeout = Duration::from_secs(3);
        }
        let ended = bench.run(task).await;
        assert_eq!(ended.is_ok(), what == "ends well", "{what}: {ended:?}");
        for pid in family(&bench.path("")) {
            assert!(!runs(pid), "{what}: process {pid} still runs");
        }
    }
}

/// G24.
#[tokio::test]
async fn a_grandchild_does_not_write_its_file_a_second_later() {
    let bench = bench();
    let later = "import subprocess
subprocess.Popen(['sh', '-c', 'sleep 1; touch late'])
subprocess.Popen(['sh', '-c', 'sleep 1; touch late'], start_new_session=True)
";
    bench.ok(later).await;
    let mut task = bench.code(&format!("{later}import time; time.sleep(60)"));
    task.timeout = Duration::from_millis(300);
    bench.run(task).await.expect_err("times out");
    // The one place that must wait: only time shows that nothing happens.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert!(!bench.path("late").exists());
}

#[tokio::test]
async fn cancel_ends_the_script_and_its_descendants() {
    let bench = bench();
    let (running, cancel) =
        bench.start(bench.code(&format!("{FAMILY}open('all', 'w').write('1')\ntime.sleep(60)")));
    pid_in(&bench.path("all")).await;
    let begun = Instant::now();
    cancel.cancel();
    let failure = running.await.expect("no panic").expect_err("cancelled");
    assert!(begun.elapsed() < Duration::from_secs(30), "not ended by the cancellation");
    assert!(matches!(failure, PythonFailure::Cancelled { .. }), "{failure:?}");
    for pid in family(&bench.path("")) {
        assert!(!runs(pid), "process {pid} still runs");
    }
    let before = CancellationToken::new();
    before.cancel();
    let never = bench.pool.run(bench.code("open('ran', 'w')"), before).await;
    assert!(matches!(never, Err(PythonFailure::Cancelled { .. })), "{never:?}");
    assert!(!bench.path("ran").exists());
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing_running() {
    let bench = bench();
    let (running, _cancel) =
        bench.start(bench.code(&format!("{FAMILY}open('all', 'w').write('1')\ntime.sleep(60)")));
    pid_in(&bench.path("all")).await;
    running.abort();
    let pids = family(&bench.path(""));
    eventually("all are gone", || pids.iter().all(|pid| !runs(*pid))).await;
    assert_eq!(bench.ok("result = 1").await.result, json!(1));
}

#[tokio::test]
async fn tasks_over_the_number_that_may_run_wait_and_all_end() {
    let bench = bench_with(|settings| settings.max_running = 2.try_into().expect("not zero"));
    let code = "import os, time
mine = f'running-{os.getpid()}'
open(mine, 'w').close()
result = len([n for n in os.listdir() if n.startswith('running-')])
time.sleep(0.02)
os.remove(mine)";
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (pool, task) = (bench.pool.clone(), bench.code(code));
        tasks.spawn(async move { pool.run(task, CancellationToken::new()).await });
    }
    while let Some(ended) = tasks.join_next().await {
        let outcome = ended.expect("no panic").expect("ends well");
        assert!(outcome.result.as_u64().expect("a count") <= 2);
    }
}

// ------------------------------------------------------------------------------ walls

/// G34.
#[tokio::test]
async fn nothing_a_task_changes_is_seen_by_the_next() {
    let bench = bench_with(|settings| settings.parents = 1.try_into().expect("not zero"));
    let dirty = "import builtins, json, os, signal, sys, threading
leaked = 1
builtins.print = builtins.len = None
json.dumps = json.JSONEncoder.encode = os.getcwd = lambda *a, **k: 'patched'
os.environ['LEAKED'] = '1'
sys.path.append('leaked'); sys.modules['leaked'] = sys
os.chdir('/'); os.umask(0o777); signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.setrecursionlimit(50000); sys.stdout = sys.stderr
result = 'dirty'";
    let clean = "import json, os, signal, sys
assert 'leaked' not in globals() and 'leaked' not in sys.modules and 'leaked' not in sys.path
assert len([1]) == 1 and json.dumps([1]) == '[1]' and 'LEAKED' not in os.environ
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and sys.getrecursionlimit() == 1000
mask = os.umask(0); assert mask == 0o22 or mask < 0o100, mask
print('clean')
result = os.getcwd()";
    let home = json!(bench.home());
    for round in 0..1_000 {
        let dirtied = bench.run(bench.code(dirty)).await;
        // What it patched is its own harm: the result may be lost, others never are.
        assert!(!matches!(dirtied, Err(PythonFailure::ParentLost { .. })), "{round}: {dirtied:?}");
        let outcome = bench.ok(clean).await;
        assert_eq!((&outcome.result, outcome.output.as_str()), (&home, "clean\n"), "{round}");
    }
}

/// G34.
#[tokio::test]
async fn tasks_that_run_at_once_share_nothing() {
    let bench = bench();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut task = bench.code(
            "import os, random, sys\nprint(args['n'])\nprint(args['n'], file=sys.stderr)
result = [args['n'], os.getpid(), random.random(), len(os.listdir('/proc/self/fd'))]",
        );
        task.args = json!({"n": number});
        let pool = bench.pool.clone();
        tasks.spawn(async move { (number, pool.run(task, CancellationToken::new()).await) });
    }
    let (mut pids, mut draws) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    while let Some(ended) = tasks.join_next().await {
        let (number, outcome) = ended.expect("no panic");
        let outcome = outcome.expect("ends well");
        assert_eq!(outcome.result[0], json!(number));
        assert_eq!((outcome.output, outcome.stderr), (format!("{number}\n"), format!("{number}\n")));
        assert!(pids.insert(outcome.result[1].to_string()));
        assert!(draws.insert(outcome.result[2].to_string()), "two tasks drew the same random number");
        assert_eq!(outcome.result[3], json!(5), "0, 1, 2, the channel, and the listing itself");
    }
}

/// G34.
#[tokio::test]
async fn secrets_of_the_environment_are_absent() {
    let bench = bench();
    let outcome = bench
        .ok("import os
result = {'names': list(os.environ), 'parent': open(f'/proc/{os.getppid()}/environ').read()}")
        .await;
    let hidden = std::env::vars().filter(|(name, _)| name.starts_with("CARGO"));
    assert!(hidden.count() > 0, "the test runs with variables to hide");
    assert!(!outcome.result["parent"].as_str().expect("text").contains("CARGO_"));
    let names = outcome.result["names"].as_array().expect("a list");
    assert!(names.contains(&json!("PATH")));
    for name in names {
        let name = name.as_str().expect("text");
        let allowed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"].contains(&name);
        assert!(allowed || name.starts_with("LC_"), "{name} is visible");
    }
}

/// G34.
#[tokio::test]
async fn no_descriptor_of_the_engine_is_open_in_a_task() {
    let bench = bench();
    let secret = bench.path("secret");
    fs::write(&secret, "key").expect("a new file");
    let open = fs::File::open(&secret).expect("it exists");
    leave_open_in_children(&open);
    let outcome = bench
        .ok("import os
result = {}
for n in os.listdir('/proc/self/fd'):
    try: result[n] = os.readlink(f'/proc/self/fd/{n}')
    except OSError: pass")
        .await;
    let open: Vec<(&str, &str)> = outcome
        .result
        .as_object()
        .expect("an object")
        .iter()
        .map(|(number, what)| (number.as_str(), what.as_str().expect("text")))
        .collect();
    for (number, what) in &open {
        let expected = match *number {
            "0" => *what == "/dev/null",
            "1" | "2" => what.starts_with("pipe:"),
            "3" => what.starts_with("socket:"),
            _ => false,
        };
        assert!(expected, "descriptor {number} is {what}; all: {open:?}");
    }
    assert_eq!(open.len(), 4);
}

/// Does what a careless library does: an open file that programs started later inherit.
#[expect(unsafe_code, reason = "std keeps descriptors from children and has no call to undo that")]
fn leave_open_in_children(file: &fs::File) {
    // SAFETY: the call changes a flag of a descriptor that is open.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }, 0);
}

#[tokio::test]
async fn a_task_leads_its_own_session_without_a_terminal() {
    let bench = bench();
    let outcome =
        bench.ok("import os\nresult = [os.getpid(), os.getsid(0), os.getpgid(0), os.getppid()]").await;
    assert_eq!(outcome.result[0], outcome.result[1]);
    assert_eq!(outcome.result[0], outcome.result[2]);
    assert_ne!(outcome.result[3], json!(std::process::id()), "the warm parent stands between");
}

// ------------------------------------------------------------------------------ parents

/// A bench with one warm parent, and the parent.
async fn with_one_parent() -> (Bench, i64) {
    let bench = bench_with(|settings| settings.parents = 1.try_into().expect("not zero"));
    let parent = bench.ok("import os; result = os.getppid()").await.result.as_i64().expect("a pid");
    (bench, parent)
}

#[tokio::test]
async fn a_parent_that_died_is_replaced() {
    let (bench, mut parent) = with_one_parent().await;
    for _ in 0..3 {
        kill(parent);
        eventually("the parent is gone", || !runs(parent)).await;
        let next = bench.ok("import os; result = os.getppid()").await.result.as_i64().expect("a pid");
        assert_ne!(next, parent);
        parent = next;
    }
}

/// Whoever of the two is killed, the other one leaves nothing of a task running; if both are, the engine.
#[tokio::test]
async fn a_task_whose_parent_or_its_guard_dies_is_killed_with_its_descendants_and_told_as_lost() {
    for (whom, name) in [("parent", "KILL"), ("guard", "KILL"), ("parent", "TERM"), ("both", "KILL")] {
        let (bench, parent) = with_one_parent().await;
        let guard = parent_of(parent);
        let code =
            format!("print('began')\n{FAMILY}open('child', 'w').write(str(os.getpid()))\ntime.sleep(60)");
        let (running, _cancel) = bench.start(bench.code(&code));
        let child = pid_in(&bench.path("child")).await;
        if whom == "both" {
            // The guard is to find no time for what the parent leaves behind.
            signal(guard, "STOP");
            signal(parent, name);
        }
        signal(if whom == "parent" { parent } else { guard }, name);
        let failure = running.await.expect("no panic").expect_err("lost");
        assert!(matches!(failure, PythonFailure::ParentLost { .. }), "{name} to the {whom}: {failure:?}");
        assert!(failure.is_retryable());
        assert_eq!(printed(&failure).0, "began\n", "{name} to the {whom}");
        for pid in [child].into_iter().chain(family(&bench.path(""))) {
            assert!(!runs(pid), "{name} to the {whom}: process {pid} still runs");
        }
        eventually("parent and guard are gone", || !runs(parent) && !runs(guard)).await;
        assert_eq!(bench.ok("result = 1").await.result, json!(1));
    }
}

#[tokio::test]
async fn a_script_that_stops_the_parent_harms_nobody() {
    let (bench, _parent) = with_one_parent().await;
    let stops = "import os, signal, time\nfor _ in range(20): os.kill(os.getppid(), signal.SIGSTOP); time.sleep(0.01)";
    let (running, _cancel) = bench.start(bench.code(stops));
    for _ in 0..20 {
        assert_eq!(bench.ok("result = 1").await.result, json!(1));
    }
    running.await.expect("no panic").expect("ends well");
}

/// Stops a parent. Its guard would let it go on, so that is stopped first.
fn stop(parent: i64) -> i64 {
    let guard = parent_of(parent);
    signal(guard, "STOP");
    signal(parent, "STOP");
    guard
}

#[tokio::test]
async fn a_task_that_had_not_begun_is_given_to_the_next_parent() {
    let (bench, parent) = with_one_parent().await;
    // A stopped parent takes orders but does not fork.
    let guard = stop(parent);
    let (running, _cancel) =
        bench.start(bench.code("import os\nopen('runs', 'a').write('x')\nresult = os.getppid()"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    kill(parent);
    signal(guard, "CONT");
    let outcome = running.await.expect("no panic").expect("ends well in the next parent");
    assert_ne!(outcome.result, json!(parent));
    assert_eq!(fs::read_to_string(bench.path("runs")).expect("it ran"), "x", "it ran once");
}

#[tokio::test]
async fn a_parent_that_does_not_answer_is_given_up() {
    let (bench, parent) = with_one_parent().await;
    let mut task = bench.code(&format!("{FAMILY}open('child', 'w').write(str(os.getpid()))\ntime.sleep(60)"));
    task.timeout = Duration::from_secs(3);
    let (running, _cancel) = bench.start(task);
    let child = pid_in(&bench.path("child")).await;
    let guard = stop(parent);
    let failure = running.await.expect("no panic").expect_err("times out");
    assert!(matches!(failure, PythonFailure::TimedOut { .. }), "{failure:?}");
    for pid in [child, parent, guard].into_iter().chain(family(&bench.path(""))) {
        assert!(!runs(pid), "process {pid} still runs");
    }
    assert_eq!(bench.ok("result = 1").await.result, json!(1));
}

#[tokio::test]
async fn a_task_that_runs_alone_takes_nobody_along_and_its_interpreter_ends_with_it() {
    let (bench, parent) = with_one_parent().await;
    let (beside, _cancel) = bench.start(bench.code(
        "import os, time\nopen('beside', 'w').write(str(os.getpid()))
while not os.path.exists('go-on'): time.sleep(0.01)\nresult = os.getppid()",
    ));
    pid_in(&bench.path("beside")).await;
    let alone = |code: &str| PythonTask { alone: true, ..bench.code(code) };

    let outcome = bench.run(alone("import os; result = os.getppid()")).await.expect("ends well");
    let own = outcome.result.as_i64().expect("a pid");
    assert!(own != parent && !runs(own));
    let killed = bench.run(alone("import os, time; os.kill(os.getppid(), 9); time.sleep(60)")).await;
    assert!(matches!(killed, Err(PythonFailure::ParentLost { .. })), "{killed:?}");

    fs::write(bench.path("go-on"), "").expect("a new file");
    assert_eq!(beside.await.expect("no panic").expect("ends well").result, json!(parent));
}

#[tokio::test]
async fn tasks_over_the_number_that_may_run_alone_wait_and_all_end() {
    let bench = bench();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let mut task = bench.code("result = args['n']");
        task.args = json!({ "n": number });
        task.alone = true;
        let pool = bench.pool.clone();
        tasks.spawn(async move { (number, pool.run(task, CancellationToken::new()).await) });
    }
    while let Some(ended) = tasks.join_next().await {
        let (number, outcome) = ended.expect("no panic");
        assert_eq!(outcome.expect("ends well").result, json!(number));
    }
}

#[tokio::test]
async fn a_parent_without_room_for_descriptors_keeps_none_of_those_it_got() {
    let (bench, parent) = with_one_parent().await;
    let open = || fs::read_dir(format!("/proc/{parent}/fd")).expect("it runs").count();
    let before = open();
    // Of the three descriptors of a task, one fits.
    limit_descriptors(parent, before as u64 + 1);
    for _ in 0..3 {
        let failure = bench.fail("result = 1").await;
        assert!(matches!(failure, PythonFailure::NotStarted { .. }), "{failure:?}");
    }
    assert_eq!(open(), before);
    limit_descriptors(parent, 100);
    assert_eq!(bench.ok("import os; result = os.getppid()").await.result, json!(parent));
}

#[expect(unsafe_code, reason = "std has no call for the limits of another process")]
fn limit_descriptors(pid: i64, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: 1024 };
    let pid = pid.try_into().expect("a pid");
    // SAFETY: the new limit outlives the call and the old one is not asked for.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[tokio::test]
async fn shutdown_ends_everything_and_refuses_later_tasks() {
    for alone in [false, true] {
        let bench = bench();
        let code = format!("{FAMILY}open('parent', 'w').write(str(os.getppid()))\ntime.sleep(60)");
        let (running, _cancel) = bench.start(PythonTask { alone, ..bench.code(&code) });
        let parent = pid_in(&bench.path("parent")).await;
        let guard = parent_of(parent);
        bench.pool.shutdown().await;
        for pid in [parent, guard].into_iter().chain(family(&bench.path(""))) {
            assert!(!runs(pid), "process {pid} still runs");
        }
        assert!(matches!(running.await.expect("no panic"), Err(PythonFailure::Closed)));
        let later = bench.run(PythonTask { alone, ..bench.code("result = 1") }).await;
        assert!(matches!(later, Err(PythonFailure::Closed)), "{later:?}");
    }
}

#[tokio::test]
async fn an_interpreter_that_cannot_start_is_named() {
    let missing = bench_with(|settings| settings.interpreter = "no-such-python".into());
    let failure = missing.fail("result = 1").await;
    assert!(
        failure.to_string().starts_with("cannot start the python interpreter no-such-python"),
        "{failure}"
    );
    assert!(!failure.is_retryable());
    let broken = bench_with(|settings| settings.interpreter = "/bin/false".into());
    let failure = broken.fail("result = 1").await;
    assert!(matches!(failure, PythonFailure::NoInterpreter { was_killed: false, .. }), "{failure:?}");
}

#[tokio::test]
async fn an_interpreter_that_is_killed_as_it_starts_is_started_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let wrapped = |kills: usize| {
        let path = dir.path().join(format!("python-{kills}"));
        let script = format!(
            "#!/bin/sh\necho >> {0}.starts\n[ $(wc -l < {0}.starts) -gt {kills} ] || kill -9 $$\nexec python3 \"$@\"\n",
            path.display()
        );
        std::fs::write(&path, script).expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("it may run");
        bench_with(|settings| settings.interpreter = path)
    };
    let done = wrapped(2).ok("result = 1").await;
    assert_eq!(done.result, json!(1));
    let failure = wrapped(1_000).fail("result = 1").await;
    assert!(matches!(failure, PythonFailure::NoInterpreter { was_killed: true, .. }), "{failure:?}");
    assert!(failure.is_retryable());
}

#[tokio::test]
async fn a_missing_directory_is_named_and_the_script_does_not_run() {
    let bench = bench();
    let mut task = bench.code("open('ran', 'w')");
    task.base_dir = bench.path("missing");
    let failure = bench.run(task).await.expect_err("no such directory");
    assert!(
        matches!(&failure, PythonFailure::NotStarted { reason } if reason.contains("missing")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn when_the_engine_is_killed_its_interpreters_and_tasks_die_too() {
    for with_its_parent in [false, true] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut engine = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "python::stands_in_for_an_engine", "--ignored", "--nocapture"])
            .env("STEPWELL_TEST_DIRECTORY", directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let pids = ["plain", "session", "daemon", "parent"].map(|name| directory.path().join(name));
        let mut found = Vec::new();
        for path in &pids {
            found.push(pid_in(path).await);
        }
        found.push(parent_of(found[3]));
        assert!(found.iter().all(|pid| runs(*pid)));
        if with_its_parent {
            signal(i64::from(engine.id()), "STOP");
            kill(found[3]);
        }
        engine.kill().expect("it runs");
        engine.wait().expect("it was ours");
        eventually("all processes are gone", || found.iter().all(|pid| !runs(*pid))).await;
    }
}

#[tokio::test]
#[ignore = "not a test: the program that the test above kills"]
async fn stands_in_for_an_engine() {
    let directory = PathBuf::from(std::env::var_os("STEPWELL_TEST_DIRECTORY").expect("set by the test"));
    let pool = PythonPool::new(PythonSettings::default());
    let task = PythonTask {
        source: Source::Code(format!("{FAMILY}open('parent', 'w').write(str(os.getppid()))\ntime.sleep(60)")),
        args: json!({}),
        bindings: Vec::new(),
        timeout: Duration::from_mins(1),
        base_dir: directory,
        alone: false,
    };
    let _killed = pool.run(task, CancellationToken::new()).await;
}

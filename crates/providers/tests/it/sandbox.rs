//! Walls around scripts and programs, in a real kernel: each promise is kept for both. On a kernel without landlock or
//! seccomp these tests say so and test nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::Ordinal;
use stepwell_core::status::RunStatus;
use stepwell_engine::Registry;
use stepwell_providers::Process;
use stepwell_providers::python::{Python, PythonSettings};
use stepwell_providers::sandbox::{Mode, Sandbox, Support, support};

use crate::house::House;

/// Who runs the code of a test.
#[derive(Clone, Copy, Debug)]
enum Runner {
    Script,
    Program,
}

impl Runner {
    async fn house(self, sandbox: Sandbox) -> House {
        match self {
            Self::Script => {
                House::open("python/execute", |mut isolation| {
                    isolation.sandbox = sandbox;
                    let settings = PythonSettings { isolation, ..PythonSettings::default() };
                    Registry::default().provide("python/v1", Arc::new(Python::new(settings)))
                })
                .await
            }
            Self::Program => {
                House::open("process/run", |mut isolation| {
                    isolation.sandbox = sandbox;
                    Registry::default().provide("process/v1", Arc::new(Process::new(isolation)))
                })
                .await
            }
        }
    }

    /// Returns parameters that run Python code, whose variable `told` is the result.
    fn params(self, code: &str, args: &Value) -> Value {
        match self {
            Self::Script => json!({ "code": format!("{code}\nresult = told"), "args": args }),
            Self::Program => {
                let code = format!(
                    "import json, sys\nargs = json.loads(sys.argv[1])\ntold = None\n{code}\nprint(json.dumps(told))"
                );
                json!({ "command": "python3", "args": ["-c", code, args.to_string()], "parse": "json" })
            }
        }
    }
}

/// Runs code within walls, by a script and by a program, and looks at what each was told.
async fn within_walls(code: &str, args: &Value, look: impl Fn(Runner, &House, &Value)) {
    if is_wanting() {
        return;
    }
    for runner in [Runner::Script, Runner::Program] {
        let house = runner.house(Sandbox::new(Mode::Require)).await;
        let view = house.success(&runner.params(code, args), json!(null)).await;
        look(runner, &house, &view["result"]);
    }
}

#[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
fn is_wanting() -> bool {
    let missing = support().missing();
    if let Some(missing) = &missing {
        eprintln!("not tested: {missing}");
    }
    missing.is_some()
}

/// Tries each way of writing and returns the error number of each, 0 for none.
const TRY: &str = "import errno, os, sys, threading, subprocess
def attempt(what, *given, **named):
    try:
        what(*given, **named)
    except OSError as error:
        return errno.errorcode[error.errno]
    return 'ok'
def write(path, flags=os.O_WRONLY | os.O_CREAT):
    os.close(os.open(path, flags, 0o644))
";

#[tokio::test]
async fn writing_is_confined_to_the_roots_and_a_directory_of_its_own() {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let outside = elsewhere.path().display().to_string();
    fs::write(elsewhere.path().join("kept"), "kept").expect("a new file");
    fs::create_dir(elsewhere.path().join("folder")).expect("a new directory");
    let code = format!(
        "{TRY}
o = args['outside']
tmp = os.environ['TMPDIR']
inside = {{}}
for where in ('.', tmp):
    w = lambda name: os.path.join(where, name)
    inside[where] = [attempt(write, w('new')), attempt(os.mkdir, w('dir')), attempt(os.rename, w('new'), w('dir/moved')),
                     attempt(os.truncate, w('dir/moved'), 0), attempt(os.symlink, o, w('link')), attempt(os.mkfifo, w('pipe')),
                     attempt(os.link, w('dir/moved'), w('hard')), attempt(os.unlink, w('hard'))]
told = {{'inside': [v for all in inside.values() for v in all], 'outside': {{
    'create': attempt(write, o + '/new'), 'open': attempt(write, o + '/kept', os.O_WRONLY),
    'through a link': attempt(write, 'link/kept', os.O_WRONLY), 'append': attempt(write, o + '/kept', os.O_WRONLY | os.O_APPEND),
    'truncate': attempt(os.truncate, o + '/kept', 0), 'unlink': attempt(os.unlink, o + '/kept'),
    'mkdir': attempt(os.mkdir, o + '/dir'), 'rmdir': attempt(os.rmdir, o + '/folder'),
    'symlink': attempt(os.symlink, '/', o + '/link'), 'out': attempt(os.rename, 'dir/moved', o + '/moved'),
    'in': attempt(os.rename, o + '/kept', 'taken'), 'link': attempt(os.link, o + '/kept', 'taken'),
    'device': attempt(os.mknod, 'disk', 0o600 | 0x6000, os.makedev(7, 0)),
    'shared memory': attempt(write, '/dev/shm/stepwell'), 'the kernel': attempt(write, '/proc/sys/kernel/core_pattern', os.O_WRONLY),
    'common': attempt(write, '/tmp/stepwell-test-of-walls')}},
    'sinks': [attempt(write, '/dev/null', os.O_RDWR | os.O_TRUNC), attempt(write, '/dev/zero', os.O_WRONLY)],
    'read': [open(o + '/kept').read(), bool(open('/etc/passwd').read()), os.listdir(o) != []],
    'tmp': [tmp, oct(os.stat(tmp).st_mode & 0o777), __import__('tempfile').gettempdir() == tmp]}}"
    );
    within_walls(&code, &json!({ "outside": outside }), |runner, _, told| {
        assert_eq!(told["inside"], json!(vec!["ok"; 16]), "{runner:?}");
        for (way, error) in told["outside"].as_object().expect("an object") {
            assert!(*error == json!("EACCES") || *error == json!("EXDEV"), "{runner:?}: {way}: {error}");
        }
        assert_eq!(told["sinks"], json!(["ok", "ok"]), "{runner:?}");
        assert_eq!(told["read"], json!(["kept", true, true]), "{runner:?}");
        assert_eq!((&told["tmp"][1], &told["tmp"][2]), (&json!("0o700"), &json!(true)), "{runner:?}");
        let own = told["tmp"][0].as_str().expect("a path");
        assert!(!Path::new(own).exists(), "{runner:?}: {own} goes with the step");
    })
    .await;
    assert_eq!(fs::read_to_string(elsewhere.path().join("kept")).expect("it is there"), "kept");
}

#[tokio::test]
async fn a_thread_a_grandchild_and_another_program_cannot_leave() {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let code = format!(
        "{TRY}
path = args['outside']
told = []
thread = threading.Thread(target=lambda: told.append(attempt(write, path)))
thread.start(); thread.join()
again = 'import os, sys\\ntry: os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\\nexcept PermissionError: sys.exit(7)'
for session in (False, True):
    told.append(subprocess.run([sys.executable, '-c', again, path], start_new_session=session).returncode)
told.append(subprocess.run(['touch', path], stderr=subprocess.DEVNULL).returncode)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open('daemon', 'w').write(attempt(write, path))
    os._exit(0)
os.wait()
while not os.path.exists('daemon') or not os.path.getsize('daemon'): pass
told.append(open('daemon').read())
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
told += [status['NoNewPrivs'].strip(), status['Seccomp'].strip()]"
    );
    let path = elsewhere.path().join("file");
    within_walls(&code, &json!({ "outside": path.display().to_string() }), |runner, _, told| {
        assert_eq!(*told, json!(["EACCES", 7, 7, 1, "EACCES", "1", "2"]), "{runner:?}");
    })
    .await;
    assert!(!path.exists());
}

#[tokio::test]
async fn calls_that_change_the_machine_or_reach_into_others_are_refused() {
    let calls = [
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("fsopen", libc::SYS_fsopen),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("kexec_load", libc::SYS_kexec_load),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("bpf", libc::SYS_bpf),
        ("keyctl", libc::SYS_keyctl),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("reboot", libc::SYS_reboot),
        ("swapon", libc::SYS_swapon),
        ("sethostname", libc::SYS_sethostname),
        ("clock_settime", libc::SYS_clock_settime),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("process_madvise", libc::SYS_process_madvise),
        // Its arguments count: a new namespace of users, and the limits of another process.
        ("clone", libc::SYS_clone),
        ("prlimit64", libc::SYS_prlimit64),
    ];
    let code = "import ctypes, errno, resource
resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
libc = ctypes.CDLL(None, use_errno=True)
first = {'clone': 0x10000011, 'prlimit64': 1}
told = {}
for name, number in args['calls']:
    ctypes.set_errno(0)
    answer = libc.syscall(ctypes.c_long(number), ctypes.c_long(first.get(name, 0)), ctypes.c_long(0x5412), None, 0, 0, 0)
    told[name] = errno.errorcode.get(ctypes.get_errno()) if answer < 0 else answer";
    let calls: Vec<Value> = calls.iter().map(|(name, number)| json!([name, number])).collect();
    within_walls(code, &json!({ "calls": calls }), |runner, _, told| {
        for (call, answer) in told.as_object().expect("an object") {
            assert_eq!(*answer, json!("EPERM"), "{runner:?}: {call}");
        }
    })
    .await;
}

#[tokio::test]
async fn requests_that_type_into_terminals_or_set_flags_of_files_are_refused_and_others_are_not() {
    let code = "import array, fcntl, os
file = os.open('file', os.O_CREAT | os.O_RDONLY)
told = {}
for name, number in args['requests']:
    try:
        fcntl.ioctl(file, number, array.array('l', [0] * 16))
        told[name] = None
    except OSError as error:
        told[name] = error.errno";
    let requests = [
        ("TIOCSTI", 0x5412_u32),
        ("FS_IOC_SETFLAGS", 0x4008_6602),
        ("FS_IOC_FSSETXATTR", 0x401c_5820),
        ("FS_IOC_ENABLE_VERITY", 0x4080_6685),
        // Asking for the size of a terminal, of what is none.
        ("TIOCGWINSZ", 0x5413),
    ];
    within_walls(code, &json!({ "requests": requests }), |runner, _, told| {
        for (name, errno) in told.as_object().expect("an object") {
            let expected = if name == "TIOCGWINSZ" { libc::ENOTTY } else { libc::EPERM };
            assert_eq!(*errno, json!(expected), "{runner:?}: {name}");
        }
    })
    .await;
}

/// By these, a list of numbers that is checked for one set of instructions could be passed by.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn calls_by_other_numbers_are_refused_too() {
    let code = "import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
told = [libc.syscall(ctypes.c_long(0x40000000 + 39)), errno.errorcode[ctypes.get_errno()],
        libc.syscall(ctypes.c_long(435), None, ctypes.c_long(0)), errno.errorcode[ctypes.get_errno()]]";
    within_walls(code, &json!({}), |runner, _, told| {
        assert_eq!(*told, json!([-1, "EPERM", -1, "ENOSYS"]), "{runner:?}");
    })
    .await;
}

#[tokio::test]
async fn what_steps_ordinarily_do_goes_on_working() {
    let code = "import os, socket, subprocess, threading, tempfile, multiprocessing
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
child = subprocess.Popen(['sleep', '60']); child.terminate()
with tempfile.NamedTemporaryFile() as file: file.write(b'x')
os.chmod('.', 0o755)
threads = [threading.Thread(target=int) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
told = [child.wait(), subprocess.check_output('echo hi > file; cat < file | tr h H 2>/dev/null', shell=True, text=True), os.getuid() >= 0]";
    within_walls(code, &json!({}), |runner, _, told| {
        assert_eq!(*told, json!([-15, "Hi\n", true]), "{runner:?}");
    })
    .await;
}

#[tokio::test]
async fn nobody_outside_can_be_sent_a_signal_where_the_kernel_confines_them() {
    if support().landlock.is_none_or(|version| version < 6) {
        return;
    }
    let code = format!(
        "{TRY}\ntold = [attempt(os.kill, os.getppid(), 0), attempt(os.kill, args['engine'], 0), attempt(os.kill, os.getpid(), 0)]"
    );
    within_walls(&code, &json!({ "engine": std::process::id() }), |runner, _, told| {
        assert_eq!(*told, json!(["EPERM", "EPERM", "ok"]), "{runner:?}");
    })
    .await;
}

#[tokio::test]
async fn a_refused_write_is_explained_with_the_roots() {
    if is_wanting() {
        return;
    }
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let path = elsewhere.path().join("file").display().to_string();
    for runner in [Runner::Script, Runner::Program] {
        let house = runner.house(Sandbox::new(Mode::Auto)).await;
        let params = runner.params("open(args['path'], 'w')", &json!({ "path": path }));
        let error = house.failure(&params, json!(null)).await;
        let root = house.path("").display().to_string();
        let root = root.trim_end_matches('/');
        assert_eq!(error.code, Code::TASK_EXECUTION_FAILED);
        assert!(error.message.contains("PermissionError"), "{runner:?}: {error}");
        let hint = error.hint.as_deref().unwrap_or_default();
        assert!(
            hint.contains("sandbox") && hint.contains(root) && hint.contains("TMPDIR"),
            "{runner:?}: {hint}"
        );
        assert_eq!(error.data["sandbox"], json!({ "writable": [root] }));
        let other = house.failure(&runner.params("raise ValueError('other')", &json!({})), json!(null)).await;
        assert_eq!(other.hint, None, "{runner:?}: what has nothing to do with it is not blamed on it");
    }
}

#[tokio::test]
async fn a_file_for_a_while_is_of_one_step_only_and_goes_however_that_ends() {
    if is_wanting() {
        return;
    }
    for runner in [Runner::Script, Runner::Program] {
        let house = runner.house(Sandbox::new(Mode::Require)).await;
        let keep = "import os\nopen(os.environ['TMPDIR'] + '/left', 'w')\nopen('where', 'a').write(os.environ['TMPDIR'] + '\\n')\n";
        for ending in
            ["told = 1", "raise ValueError()", "os.kill(os.getpid(), 9)", "__import__('time').sleep(60)"]
        {
            let mut params = runner.params(&format!("{keep}{ending}"), &json!({}));
            params["timeout"] = json!(8);
            house.run(&house.step(&params), json!(null)).await;
        }
        let where_ = fs::read_to_string(house.path("where")).expect("written");
        let mut all: Vec<&str> = where_.lines().collect();
        assert_eq!(all.iter().filter(|path| Path::new(path).exists()).count(), 0, "{runner:?}: {where_}");
        all.dedup();
        assert_eq!(all.len(), 4, "{runner:?}: {where_}");
    }
}

const LACKING: Support = Support { landlock: None, seccomp: true };

#[tokio::test]
async fn where_the_kernel_has_no_walls_required_ones_are_an_error_before_anything_runs() {
    for runner in [Runner::Script, Runner::Program] {
        let house = runner.house(Sandbox::with_support(Mode::Require, LACKING)).await;
        let error: ErrorObject =
            house.failure(&runner.params("open('ran', 'w')", &json!({})), json!(null)).await;
        assert_eq!(
            (error.code, error.retryable),
            (Code::PROVIDER_INITIALIZATION_FAILED, false),
            "{runner:?}"
        );
        assert!(error.message.starts_with("step 'a': a sandbox is required"), "{runner:?}: {error}");
        assert_eq!(
            (&error.data["reason"], &error.data["task_id"]),
            (&json!("sandbox"), &json!("a")),
            "{runner:?}"
        );
        assert!(!house.path("ran").exists());
    }
}

#[tokio::test]
async fn without_walls_a_step_does_what_its_user_may() {
    for runner in [Runner::Script, Runner::Program] {
        for sandbox in [Sandbox::new(Mode::Off), Sandbox::with_support(Mode::Auto, LACKING)] {
            let elsewhere = tempfile::tempdir().expect("a temporary directory");
            let path = elsewhere.path().join("file");
            let house = runner.house(sandbox).await;
            let code = "import os\nopen(args['path'], 'w')\ntold = os.environ.get('TMPDIR')";
            let args = json!({ "path": path.display().to_string() });
            let run = house.run(&house.step(&runner.params(code, &args)), json!(null)).await;
            assert_eq!(run.status(), RunStatus::Completed, "{runner:?}: {:?}", run.error());
            assert_eq!(run.execution("a", Ordinal(1)).expect("attempted").attempts, 1);
            assert_eq!(run.views()["a"]["result"].as_str().map(str::to_owned), std::env::var("TMPDIR").ok());
            assert!(path.exists());
        }
    }
}

//! A full disk: the run stops with a clear error, and goes on when there is space again.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::sandbox::{Sandbox, Told};

/// Two small steps, one that writes as much as `size` says, and one after it.
fn workflow(size: usize) -> String {
    let step = |name: &str, needs: &str, result: &str| {
        format!(
            "  - name: {name}\n    method: python/execute\n    needs: [{needs}]\n    params:\n      code: |\n        open('log.txt', 'a').write('{name} ')\n        result = {result}\n"
        )
    };
    let large = format!("__import__('random').Random(7).randbytes({size}).hex()");
    let steps = [
        step("first", "", "1"),
        step("second", "first", "2"),
        step("large", "second", &large),
        step("last", "large", "4"),
    ];
    format!("id: fills\nsteps:\n{}", steps.concat())
}

fn log(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path().join("log.txt")).unwrap_or_default()
}

/// Says whether a command was stopped by the disk, and told so.
fn is_stopped_by_the_disk(told: &Told) {
    assert_eq!(told.code, 1, "{told:?}");
    let error = told.error();
    assert_eq!(error["name"], json!("PERSISTENCE_WRITE_FAILED"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("store.db"), "names the file: {error}");
    assert!(error["hint"].as_str().unwrap().contains("free some space"), "{error}");
}

/// After there is space again the run goes on: what was completed does not run again.
fn goes_on(sandbox: &Sandbox, told: &Told) {
    assert_eq!(told.code, 0, "{told:?}");
    let run = told.json();
    assert_eq!(run["status"], json!("completed"));
    assert_eq!(run["results"]["last"]["result"], json!(4));
    let attempts = |name: &str| {
        let steps = run["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == json!(name)).unwrap()["attempts"].clone()
    };
    assert_eq!((attempts("first"), attempts("second")), (json!(1), json!(1)));
    let log = log(sandbox);
    assert!(log.starts_with("first second large ") && log.ends_with(" last "), "{log}");
    assert_eq!((log.matches("first").count(), log.matches("second").count()), (1, 1), "{log}");
}

/// A file system of two megabytes that only the commands run in it can see. It goes with its process.
struct SmallDisk {
    holder: Child,
    is_root: bool,
}

impl SmallDisk {
    /// Returns none where the system gives nobody a file system of his own.
    fn mounted_at(sandbox: &Sandbox) -> Option<Self> {
        let mount = sandbox.path().join("disk");
        std::fs::create_dir(&mount).unwrap();
        let is_root = Command::new("id").arg("-u").output().ok()?.stdout.starts_with(b"0\n");
        let script = "mount -t tmpfs -o size=2m stepwell \"$0\" && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(if is_root { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] })
            .args(["sh", "-c", script])
            .arg(&mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        if line == "ready\n" {
            return Some(Self { holder, is_root });
        }
        holder.wait().unwrap();
        None
    }

    /// Returns a command that sees the disk.
    fn command(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["--mount", "--target", &self.holder.id().to_string()]);
        if !self.is_root {
            inside.args(["--user", "--preserve-credentials"]);
        }
        // The directory is entered inside, where the disk is part of it.
        inside.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(command.get_current_dir().unwrap());
        inside.arg(command.get_program()).args(command.get_args());
        inside.env_remove("STEPWELL_STORE").stdin(Stdio::null());
        inside
    }

    fn run(&self, sandbox: &Sandbox, args: &[&str]) -> Told {
        Told::of(&self.command(&sandbox.command(args)).output().unwrap())
    }

    fn shell(&self, sandbox: &Sandbox, script: &str) -> Told {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(sandbox.path());
        Told::of(&self.command(&shell).output().unwrap())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its standard input ends, and it with it.
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}

#[test]
fn a_run_on_a_full_disk_stops_with_a_clear_error_and_goes_on_when_space_is_freed() {
    let sandbox = Sandbox::new();
    let Some(disk) = SmallDisk::mounted_at(&sandbox) else {
        // Nobody mounts a file system for us here; the limit of a file's size stands in for it below.
        return;
    };
    sandbox.write("fills.yaml", &workflow(300_000));
    let url = "sqlite://disk/store.db";
    // Something else fills the disk but for what two steps need.
    let filled = disk.shell(&sandbox, "head -c 1400000 /dev/zero > disk/ballast");
    assert_eq!(filled.code, 0, "{filled:?}");
    let stopped = disk.run(&sandbox, &["run", "fills.yaml", "--store", url, "--run-id", "f1", "--json"]);
    is_stopped_by_the_disk(&stopped);
    assert!(log(&sandbox).starts_with("first second large "), "{:?}", log(&sandbox));

    // It is still full.
    is_stopped_by_the_disk(&disk.run(&sandbox, &["resume", "f1", "--store", url, "--json"]));
    let shown = disk.run(&sandbox, &["show", "f1", "--store", url, "--json"]);
    assert_eq!((shown.code, &shown.json()["status"]), (0, &json!("running")), "what is there can be read");

    assert_eq!(disk.shell(&sandbox, "rm disk/ballast").code, 0);
    goes_on(&sandbox, &disk.run(&sandbox, &["resume", "f1", "--store", url, "--json"]));
}

#[test]
fn a_store_that_may_not_grow_stops_the_run_and_it_goes_on_when_it_may() {
    const LIMIT: u64 = 400_000;
    let sandbox = Sandbox::new();
    sandbox.write("fills.yaml", &workflow(300_000));
    let mut limited =
        sandbox.command(&["run", "fills.yaml", "--store", "sqlite://store.db", "--run-id", "f1", "--json"]);
    limit_file_size(&mut limited, LIMIT);
    is_stopped_by_the_disk(&Told::of(&limited.output().unwrap()));
    assert!(log(&sandbox).starts_with("first second large "), "{:?}", log(&sandbox));
    let told = sandbox.run(&["resume", "f1", "--store", "sqlite://store.db", "--json"]);
    goes_on(&sandbox, &told);
}

/// Lets no file of the process grow beyond so many bytes: writing fails, and no signal ends it.
#[expect(unsafe_code, reason = "the limit is set between fork and exec")]
fn limit_file_size(command: &mut Command, bytes: u64) {
    // SAFETY: only calls that are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
}

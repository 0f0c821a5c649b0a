//! What a batch costs: files a second, and the most memory that the process ever had (its scripts are not counted).
//!
//! `cargo bench -p stepwell-cli --bench batch [FILES]`. The store lies in the system's directory for temporary files; each
//! file is a line of text, each script reads it. The goal is 250 files a second on two cores and less than 150 MiB.
#![allow(clippy::print_stdout, missing_docs, reason = "a bench prints its numbers")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SCRIPT: &str = "result = len(open(args['file_path']).read())\n";

/// What a command took.
struct Cost {
    took: Duration,
    /// `VmHWM`, in KiB.
    memory: u64,
}

fn main() {
    let files = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(5_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("data")).expect("a new directory");
    for number in 0..files {
        fs::write(dir.path().join(format!("data/{number:05}.txt")), "a line of text\n").expect("a new file");
    }
    fs::write(dir.path().join("length.py"), SCRIPT).expect("a new file");
    println!("{files} files, fsync");
    let batch = ["batch", "data", "--script", "length.py", "--run-id", "b1"];
    tell("a batch", files, &run(dir.path(), &batch));
    let report = [&batch[..], &["--json", "--output", "report.json"]].concat();
    tell("what came of it, told again with a report", files, &run(dir.path(), &report));
    let code = format!("code={SCRIPT}# {}", "x".repeat(2_000));
    let inline = ["batch", "data", "--method", "python/execute", "--param", &code, "--max-concurrent", "8"];
    tell("8 at once, 2 kB of code in each step", files, &run(dir.path(), &inline));
}

fn tell(what: &str, files: usize, cost: &Cost) {
    let seconds = cost.took.as_secs_f64();
    println!(
        "{what}: {:.0} files a second ({seconds:.1} s), {} MiB",
        files as f64 / seconds,
        cost.memory.div_ceil(1_024)
    );
}

/// Runs a command and watches its memory. It is the kernel that keeps the highest, so only the last look counts.
fn run(dir: &Path, args: &[&str]) -> Cost {
    let out = fs::File::create(dir.join("out")).expect("a new file");
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    command.args(args).current_dir(dir).env_remove("STEPWELL_STORE").stdin(Stdio::null()).stdout(out);
    let mut child = command.stderr(Stdio::null()).spawn().expect("the command starts");
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    loop {
        let looked = fs::read_to_string(&status).unwrap_or_default();
        let highest = looked.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        memory = highest.and_then(|kib| kib.parse().ok()).unwrap_or(0).max(memory);
        if let Some(ended) = child.try_wait().expect("it is our child") {
            assert!(ended.success(), "{args:?}: {ended}");
            return Cost { took: began.elapsed(), memory };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

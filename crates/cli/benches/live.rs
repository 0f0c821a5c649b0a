//! What the live view costs: a run of 2 000 trivial steps on a terminal, drawn and told line by line, in alternating pairs.
//!
//! `cargo bench -p stepwell-cli --bench live [PAIRS]`. Beside the time that passes stands the time that the processor worked for
//! the command, which other programs on the machine disturb less.
#![allow(clippy::print_stdout, missing_docs, reason = "a bench prints its numbers")]

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, open};

const STEPS: usize = 2_000;

/// What one run took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    worked: Duration,
    written: usize,
}

fn main() {
    let pairs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let mut file = String::from("id: trivial\nsteps:\n");
    for step in 0..STEPS {
        // Ten chains side by side.
        let needs = if step < 10 { String::new() } else { format!(", needs: [s{}]", step - 10) };
        writeln!(file, "  - {{name: s{step}, method: timer/sleep, params: {{seconds: 0}}{needs}}}")
            .expect("a String takes all");
    }
    std::fs::write(dir.path().join("trivial.yaml"), file).expect("the directory is ours");
    run(dir.path(), true);
    let (mut plain, mut live) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Whoever goes first finds the machine as the last pair left it.
        for is_plain in [pair % 2 == 0, pair % 2 != 0] {
            let took = run(dir.path(), is_plain);
            if is_plain { &mut plain } else { &mut live }.push(took);
        }
    }
    let tell = |name: &str, all: &[Took]| {
        let (wall, worked) = (median(all, |took| took.wall), median(all, |took| took.worked));
        let written = all.iter().map(|took| took.written).sum::<usize>() / all.len();
        println!("{name}: {wall:?} passed, {worked:?} worked, {written} bytes written");
    };
    tell("plain", &plain);
    tell("live ", &live);
    for (name, of) in
        [("passed", (|took: Took| took.wall) as fn(Took) -> Duration), ("worked", |took| took.worked)]
    {
        let mut ratios: Vec<f64> = plain
            .iter()
            .zip(&live)
            .map(|(plain, live)| of(*live).as_secs_f64() / of(*plain).as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        println!("live / plain, time {name}: median of {pairs} pairs {:.3}", ratios[ratios.len() / 2]);
    }
}

fn median(all: &[Took], of: impl Fn(&Took) -> Duration) -> Duration {
    let mut times: Vec<Duration> = all.iter().map(of).collect();
    times.sort();
    times[times.len() / 2]
}

#[expect(unsafe_code, reason = "only wait4 tells what a process that has ended used")]
#[expect(clippy::zombie_processes, reason = "wait4 is the wait")]
fn run(dir: &Path, is_plain: bool) -> Took {
    let (mut pty, pts) = open().expect("the system has terminals");
    pty.resize(Size::new(40, 120)).expect("the terminal is ours");
    let command = Command::new(env!("CARGO_BIN_EXE_stepwell"))
        .args(["run", "trivial.yaml", "--store", "memory:"])
        .args(is_plain.then_some("--plain"))
        .current_dir(dir)
        .env("TERM", "xterm-256color");
    let began = Instant::now();
    let child = command.spawn(pts).expect("the command is built");
    let mut bytes = vec![0; 64 << 10];
    let mut written = 0;
    while let Ok(count @ 1..) = pty.read(&mut bytes) {
        written += count;
    }
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it waits for a child of ours that nobody else waits for; both pointers outlive the call, which fills the second.
    let usage = unsafe {
        libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr());
        usage.assume_init()
    };
    assert_eq!(status, 0, "the run failed");
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    Took { wall: began.elapsed(), worked: time(usage.ru_utime) + time(usage.ru_stime), written }
}

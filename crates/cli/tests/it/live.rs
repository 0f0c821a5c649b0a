//! A run on a terminal: seen while it goes on, asked and answered there, and a terminal that is left as it was found.

use serde_json::json;

use crate::sandbox::{Sandbox, send};

const BUSY: &str = "id: busy
steps:
  - {name: quick, method: python/execute, params: {code: \"result = 24\"}}
  - {name: cool, method: timer/sleep, params: {seconds: 3600}}
  - {name: go, method: signal/wait, params: {name: 'go on'}}
  - {name: each, for_each: [1, 2, 3], method: python/execute, params: {code: \"result = 1\"}}
";

const ASKS: &str = "id: asks
steps:
  - name: approve
    method: human/ask
    params:
      prompt: 'Order 7 laptops?'
      schema:
        type: object
        required: [approved]
        properties:
          approved: {type: boolean}
          count: {type: integer, minimum: 1, default: 7}
  - {name: lunch, method: human/ask, params: {prompt: 'What for lunch?', options: [pizza, {value: salad}]}}
  - {name: end, method: python/execute, needs: [approve, lunch], params: {code: \"result = 'ordered'\"}}
";

/// Leaves a run with both its questions open and nobody to carry it.
fn asking(sandbox: &Sandbox) {
    sandbox.write("asks.yaml", ASKS);
    let mut run = sandbox.spawn(&["run", "asks.yaml", "--run-id", "a1"]);
    sandbox.until(|sandbox| {
        let waits = sandbox.run(&["inbox", "--json"]);
        (waits.code == 0 && waits.json()["waits"].as_array()?.len() == 2).then_some(())
    });
    run.kill().unwrap();
    run.wait().unwrap();
}

fn id_of(sandbox: &Sandbox, step: &str) -> String {
    let waits = sandbox.run(&["inbox", "--json"]).json()["waits"].clone();
    let wait = waits.as_array().unwrap().iter().find(|wait| wait["step"] == json!(step)).unwrap();
    wait["wait_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_on_a_terminal_is_seen_while_it_goes_on_and_told_as_a_table_at_its_end() {
    let sandbox = Sandbox::new();
    sandbox.write("busy.yaml", BUSY);
    let mut terminal = sandbox.on_terminal(80, &["run", "busy.yaml", "--run-id", "b1"]);
    terminal.until("the picture", |text| {
        let has = |part: &str| text.contains(part);
        has("  ✓ quick  completed")
            && has("  … cool   waiting")
            && has("  ? go     waiting")
            && has("2 of 4 steps")
            && has("  3/3")
    });
    terminal.shows("go waits for signal 'go on': `stepwell signal b1 'go on'`");
    let before = terminal.shows(" · 2 s");
    assert_eq!(before.matches("run b1 of busy").count(), 1, "{before}");
    terminal.resize(50);
    terminal.until("the picture at 50 columns", |text| {
        text.contains("run b1 of busy") && text.lines().all(|line| line.chars().count() <= 50)
    });
    terminal.resize(120);
    assert_eq!(sandbox.run(&["cancel", "b1", "--reason", "enough"]).code, 0);
    assert_eq!(terminal.ends(), 1);
    let text = terminal.text();
    assert!(text.contains("run b1 of busy is cancelled · "), "{text}");
    assert!(text.contains("    step   status     attempts"), "{text}");
    assert!(text.contains("  ✓ quick  completed") && text.contains("  ✗ cool   cancelled"), "{text}");
    assert!(terminal.raw().contains("\u{1b}[32m"), "what went well is green");
    terminal.is_given_back();
}

#[test]
fn without_a_terminal_or_with_plain_every_line_is_as_it_was() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "quick.yaml",
        "id: q\nsteps: [{name: quick, method: python/execute, params: {code: \"result = 24\"}}]",
    );
    let piped = sandbox.run(&["run", "quick.yaml", "--run-id", "q1"]);
    assert_eq!(piped.err, "run q1 of q\n  quick started\n  quick completed\nrun q1 is completed\n");
    assert!(piped.out.starts_with("quick: completed, ") && piped.out.ends_with("s\n  24\n"), "{}", piped.out);

    let each = "steps: [{name: size, for_each: [7], method: python/execute, params: {code: \"result = 1\"}}]";
    sandbox.write("each.yaml", each);
    let piped = sandbox.run(&["run", "each.yaml", "--run-id", "e1"]);
    let lines: Vec<&str> = piped.err.lines().skip(1).collect();
    let told = ["  size[]#1 started", "  size[]#1 completed", "  size completed", "run e1 is completed"];
    assert_eq!(lines, told, "{piped:?}");

    for (args, variables) in [(&["--plain"][..], [("A", "")]), (&[], [("TERM", "dumb")])] {
        let id = format!("q{}", args.len() + 2);
        let mut all = vec!["run", "quick.yaml", "--run-id", &id];
        all.extend(args);
        let set = variables.map(|(name, value)| format!("{name}={value}"));
        let program: Vec<&str> =
            set.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_stepwell")]).chain(all).collect();
        let mut terminal = sandbox.program_on_terminal(80, "env", &program);
        assert_eq!(terminal.ends(), 0);
        let raw = terminal.raw();
        assert!(!raw.contains('\u{1b}'), "{raw:?}");
        let begin = format!("run {id} of q\r\n  quick started\r\n  quick completed\r\nquick: completed, ");
        assert!(
            raw.starts_with(&begin) && raw.ends_with(&format!("\r\n  24\r\nrun {id} is completed\r\n")),
            "{raw:?}"
        );
    }
    let stepwell = env!("CARGO_BIN_EXE_stepwell");
    let mut terminal = sandbox.program_on_terminal(80, "env", &["NO_COLOR=1", stepwell, "run", "quick.yaml"]);
    assert_eq!(terminal.ends(), 0);
    let raw = terminal.raw();
    assert!(raw.contains("✓ quick") && !raw.contains("\u{1b}[32m"), "{raw:?}");
    let script = format!("{stepwell} run quick.yaml --run-id q9 > results");
    let mut terminal = sandbox.program_on_terminal(80, "sh", &["-c", &script]);
    assert_eq!(terminal.ends(), 0);
    assert!(terminal.text().contains("✓ quick  completed"), "{}", terminal.text());
    let results = std::fs::read_to_string(sandbox.path().join("results")).unwrap();
    assert!(results.starts_with("quick: completed, ") && results.ends_with("s\n  24\n"), "{results}");
}

#[test]
fn a_question_is_asked_on_the_terminal_field_by_field_and_the_run_goes_on_with_the_answer() {
    let sandbox = Sandbox::new();
    asking(&sandbox);
    let mut terminal = sandbox.on_terminal(100, &["resume", "a1"]);
    let text = terminal.shows("1/2 approved: yes or no");
    assert!(text.contains("  | Order 7 laptops?") && text.contains("1 more after this"), "{text}");
    terminal.types("mabye\x7f\x7f\r");
    terminal.shows("✗ mab is not yes or no");
    terminal.types("yes\r");
    terminal.shows("2/2 count: whole number, at least 1, optional");
    terminal.shows("Enter alone: 7");
    terminal.types("0\r");
    terminal.shows("✗ ");
    terminal.types("9\r");
    let text = terminal.shows("1  pizza");
    assert!(
        text.contains("  approve: answered by ") && text.contains(r#"{"approved":true,"count":9}"#),
        "{text}"
    );
    terminal.types("2\r");
    assert_eq!(terminal.ends(), 0);
    let text = terminal.text();
    assert!(text.contains("run a1 of asks is completed") && text.contains("✓ end      completed"), "{text}");
    terminal.is_given_back();
    let shown = sandbox.run(&["show", "a1", "--json"]).json();
    assert_eq!(shown["results"]["approve"]["result"], json!({"approved": true, "count": 9}));
    assert_eq!(shown["results"]["lunch"]["result"], json!("salad"));
    let by = shown["results"]["lunch"]["answered_by"].as_str().unwrap();
    assert!(!by.is_empty() && text.contains(&format!("lunch: answered by {by}: salad")), "{text}");
}

#[test]
fn a_question_that_is_left_stays_open_and_one_answered_elsewhere_goes_away() {
    let sandbox = Sandbox::new();
    asking(&sandbox);
    let mut terminal = sandbox.on_terminal(100, &["resume", "a1"]);
    terminal.shows("1/2 approved");
    terminal.types("half an answ\x1b");
    let text = terminal.shows("1  pizza");
    assert!(
        text.contains("approve is left open") && text.contains("answer with `stepwell answer wait_"),
        "{text}"
    );
    terminal.types("piz");
    terminal.shows("> piz");
    assert_eq!(sandbox.run(&["answer", &id_of(&sandbox, "lunch"), "--text", "salad", "--by", "ann"]).code, 0);
    terminal.shows("lunch: answered by ann: salad; what was typed here was not sent");
    terminal.until("that what was typed is gone", |text| !text.contains("> piz"));
    assert_eq!(sandbox.run(&["show", "a1", "--json"]).json()["status"], json!("paused"));
    assert_eq!(
        sandbox.run(&["answer", &id_of(&sandbox, "approve"), "--json-value", r#"{"approved": false}"#]).code,
        0
    );
    assert_eq!(terminal.ends(), 0);
    terminal.is_given_back();
}

#[test]
fn answer_without_a_value_asks_on_the_terminal_and_no_input_never_does() {
    let sandbox = Sandbox::new();
    asking(&sandbox);
    let run = sandbox.on_terminal(100, &["resume", "a1", "--no-input"]);
    let text = run.shows("lunch asks: What for lunch?");
    assert!(!text.contains("Esc leaves"), "{text}");
    run.shows("--text 'pizza|salad'`");
    let id = &id_of(&sandbox, "approve");
    let mut terminal = sandbox.on_terminal(100, &["answer", id, "--no-input"]);
    assert_eq!(terminal.ends(), 2);
    let mut terminal = sandbox.on_terminal(100, &["answer", id]);
    terminal.shows("1/2 approved");
    terminal.types("\x04");
    assert_eq!(terminal.ends(), 130);
    assert!(terminal.text().contains("is left open\n  answer with `stepwell answer "), "{}", terminal.text());
    let mut terminal = sandbox.on_terminal(100, &["answer", id, "--by", "ann"]);
    terminal.shows("answered by ann");
    terminal.types("y\r");
    terminal.shows("2/2 count");
    terminal.types("\r");
    assert_eq!(terminal.ends(), 0);
    assert!(terminal.text().contains(&format!("{id} is answered")), "{}", terminal.text());
    terminal.is_given_back();
    run.shows(r#"approve: answered by ann: {"approved":true,"count":7}"#);
}

#[test]
fn answer_of_a_run_with_several_questions_asks_which_one_is_meant() {
    let sandbox = Sandbox::new();
    asking(&sandbox);
    let mut terminal = sandbox.on_terminal(100, &["answer", "a1", "--text", "pizza", "--no-input"]);
    assert_eq!(terminal.ends(), 2);
    let mut terminal = sandbox.on_terminal(100, &["answer", "a1", "--text", "pizza"]);
    let text = terminal.shows("approve: Order 7 laptops?");
    assert!(text.contains("? run a1 asks") && text.contains("which of its 2 questions is meant?"), "{text}");
    assert!(!text.contains("answered by"), "{text}");
    terminal.types("\x1b");
    assert_eq!(terminal.ends(), 130);

    let mut terminal = sandbox.on_terminal(100, &["answer", "a1"]);
    let text = terminal.shows("lunch: What for lunch?");
    terminal.types("3\r");
    terminal.shows("✗ ");
    let lunch = text.lines().find(|line| line.contains("lunch: ")).unwrap();
    terminal.types(&format!("{}\r", lunch.split_whitespace().next().unwrap()));
    terminal.shows("2  salad");
    terminal.types("2\r");
    assert_eq!(terminal.ends(), 0);
    terminal.is_given_back();
    let shown = sandbox.run(&["show", "a1", "--json"]).json();
    assert_eq!(shown["results"]["lunch"]["result"], json!("salad"));
}

#[test]
fn whatever_ends_it_the_terminal_is_given_back() {
    let sandbox = Sandbox::new();
    asking(&sandbox);
    let mut terminal = sandbox.on_terminal(100, &["resume", "a1"]);
    terminal.shows("1/2 approved");
    terminal.types("ye\x03");
    assert_eq!(terminal.ends(), 130);
    assert!(terminal.text().contains("interrupted. The run is not cancelled"), "{}", terminal.text());
    terminal.is_given_back();
    let mut terminal = sandbox.on_terminal(100, &["resume", "a1"]);
    terminal.shows("1/2 approved");
    terminal.types("ye");
    terminal.shows("> ye");
    send(terminal.child.id(), libc::SIGTERM);
    assert_eq!(terminal.ends(), 130);
    terminal.is_given_back();
}

#[test]
fn ctrl_z_gives_the_terminal_to_the_shell_and_fg_draws_again() {
    let sandbox = Sandbox::new();
    asking(&sandbox);
    let mut shell = sandbox.program_on_terminal(100, "bash", &["--norc", "--noprofile", "-i"]);
    shell.types(&format!("PS1='$ '; {} resume a1\n", env!("CARGO_BIN_EXE_stepwell")));
    shell.shows("1/2 approved");
    shell.types("ye");
    shell.shows("> ye");
    shell.types("\x1a");
    shell.shows("Stopped");
    shell.types("echo in the $((1 + 1))nd place\n");
    shell.shows("\nin the 2nd place\n");
    shell.types("fg\n");
    shell.until("the question again", |text| {
        text.matches("1/2 approved").count() == 2 && text.ends_with("> ye")
    });
    shell.types("s\r");
    shell.shows("2/2 count");
    shell.types("\r");
    shell.shows("1  pizza");
    shell.types("1\r");
    shell.shows("run a1 of asks is completed");
    shell.types("exit\n");
    assert_eq!(shell.ends(), 0);
}

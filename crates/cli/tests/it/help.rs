//! The help of every command, as people see it.

use crate::sandbox::Sandbox;
use crate::transcript::check;

/// Returns the names that a help lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_help_that_says_what_it_does() {
    let sandbox = Sandbox::new();
    let mut open = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let told = sandbox.run(&args);
        assert_eq!((told.code, &*told.err), (0, ""), "{args:?}");
        check(&["help".to_owned()].iter().chain(&path).cloned().collect::<Vec<_>>().join("_"), &told.out);
        open.extend(commands(&told.out).into_iter().map(|name| [path.clone(), vec![name]].concat()));
        seen += 1;
    }
    assert!(seen > 25, "{seen} commands");
}

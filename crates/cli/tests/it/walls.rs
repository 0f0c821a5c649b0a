//! `--sandbox`: how it is switched on, and what a refused write looks like. What the walls hold is tested with the
//! providers.

use stepwell_providers::sandbox::support;

use crate::sandbox::Sandbox;

const WRITES: &str = "
steps:
  - name: script
    method: python/execute
    on_failure: continue
    params: {code: \"open('inside-1', 'w'); open('${input.outside}/1', 'w')\"}
  - name: program
    method: process/run
    params: {command: touch, args: [inside-2, \"${input.outside}/2\"]}
";

#[test]
fn the_flag_and_the_variable_confine_what_steps_write_and_a_refusal_is_explained() {
    if support().missing().is_some() {
        return;
    }
    for (flag, variable, is_confined) in [
        (None, None, false),
        (Some("require"), None, true),
        (None, Some("auto"), true),
        (Some("off"), Some("require"), false),
    ] {
        let (sandbox, elsewhere) = (Sandbox::new(), tempfile::tempdir().unwrap());
        sandbox.write("writes.yaml", WRITES);
        let outside = format!("outside={}", elsewhere.path().display());
        let mut args = vec!["--store", "memory:", "run", "writes.yaml", "--param", &outside];
        args.extend(flag.into_iter().flat_map(|mode| ["--sandbox", mode]));
        let variables: Vec<(&str, &str)> =
            variable.map(|mode| ("STEPWELL_SANDBOX", mode)).into_iter().collect();
        let told = sandbox.run_with(&args, &variables);
        assert_eq!(told.code, i32::from(is_confined), "{flag:?} {variable:?}: {told:?}");
        for number in [1, 2] {
            assert!(sandbox.path().join(format!("inside-{number}")).exists(), "{told:?}");
            assert_eq!(elsewhere.path().join(number.to_string()).exists(), !is_confined, "{told:?}");
        }
        let roots = format!("may write only in {} and", sandbox.path().display());
        assert_eq!(told.err.contains(&roots), is_confined, "{told:?}");
    }
}

#[test]
fn every_command_that_carries_out_steps_takes_it_and_no_other_word() {
    let sandbox = Sandbox::new();
    for command in ["run", "resume", "retry", "worker"] {
        let help = sandbox.run(&[command, "--help"]);
        assert!(help.out.contains("--sandbox <off|auto|require>"), "{command}: {help:?}");
        let refused = sandbox.run(&[command, "x", "--sandbox", "on"]);
        assert_eq!(refused.code, 2, "{command}: {refused:?}");
    }
    let refused = sandbox.run_with(&["run", "x.yaml"], &[("STEPWELL_SANDBOX", "yes")]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("none of off, auto, require"), "{refused:?}");
}

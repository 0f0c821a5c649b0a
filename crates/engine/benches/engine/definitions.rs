//! How long a large definition takes to be read and judged: 10 000 steps, in YAML and in JSON, and with a bad one among them.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use stepwell_engine::Registry;
use stepwell_engine::load::{self, Format};

use super::Trivial;

const STEPS: usize = 10_000;

/// Prints the best of some readings of each definition, in milliseconds.
pub(crate) fn measure() {
    let provider = Arc::new(Trivial);
    let registry = Registry::default().provide("test/v1", provider.clone()).provide("python/v1", provider);
    for (name, text, format) in [
        ("YAML, lists and needs", plain(), Format::Yaml),
        ("YAML, Python with references", referring(), Format::Yaml),
        ("JSON, the same", as_json(&referring(), &registry), Format::Json),
    ] {
        let bad = text.replacen("step 7777\"", "step 7777\", \"bogus\": 1", 1);
        let bad = if format == Format::Json { bad } else { text.replacen("[step 7776]", "[step 77776]", 1) };
        assert_ne!(bad, text);
        let best = |text: &str, problems: usize| {
            let once = |_| {
                let begin = Instant::now();
                let loaded = load::text(text, format, &registry, false);
                let took = begin.elapsed().as_secs_f64() * 1e3;
                assert_eq!(loaded.err().map_or(0, |invalid| invalid.problems.len()), problems);
                took
            };
            (0..5).map(once).fold(f64::MAX, f64::min)
        };
        let (good, bad) = (best(&text, 0), best(&bad, 1));
        println!(
            "load {STEPS} steps, {name}: {good:.0} ms, with a bad one {bad:.0} ms ({} KiB)",
            text.len() / 1_024
        );
    }
}

fn plain() -> String {
    let mut text = String::from("name: plain\nsteps:\n");
    for i in 0..STEPS {
        let needs = if i == 0 { String::new() } else { format!("step {}", i - 1) };
        writeln!(text, "  - {{name: step {i}, method: test/do, needs: [{needs}], params: {{seconds: {i}}}}}")
            .expect("a String takes all");
    }
    text
}

fn referring() -> String {
    let mut text = String::from("name: referring\nsteps:\n");
    for i in 0..STEPS {
        let (near, far) = (format!("step {}", i.max(1) - 1), format!("step {}", i / 2));
        let (needs, value) = if i == 0 {
            ("", "x".to_owned())
        } else {
            (&*near, format!("${{{near}.result}} and ${{{far}}}"))
        };
        write!(
            text,
            "  - name: step {i}
    method: python/execute
    needs: [{needs}]
    retry: {{max_attempts: 2}}
    params:
      args: {{text: '{value}', list: [1, 2]}}
      code: |
        rows = args['list']
        result = {{'rows': rows, 'text': args['text']}}
"
        )
        .expect("a String takes all");
    }
    text
}

/// The same definition as its author would have written it in JSON.
fn as_json(yaml: &str, registry: &Registry) -> String {
    let loaded = load::text(yaml, Format::Yaml, registry, false).expect("a definition");
    let steps: Vec<_> = loaded
        .workflow
        .definition()
        .steps
        .iter()
        .map(|step| {
            let needs: Vec<_> = step.needs.iter().map(|need| need.step.as_str()).collect();
            let stepwell_core::workflow::definition::Action::Provider { method, params, .. } = &step.action
            else {
                unreachable!("all are provided")
            };
            json!({ "name": step.name, "method": method, "needs": needs, "params": params })
        })
        .collect();
    serde_json::to_string_pretty(&json!({ "name": "referring", "steps": steps })).expect("JSON")
}

//! The programs of `examples/` do what they say: each checks itself.

use std::collections::BTreeSet;

macro_rules! examples {
    ($($name:ident at $path:literal)+) => {
        $(#[path = $path] mod $name;)+

        mod does_what_it_says {
            $(
                #[test]
                fn $name() {
                    super::$name::main().unwrap();
                }
            )+
        }

        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

examples! {
    checkpoints at "../../examples/checkpoints.rs"
    complete at "../../examples/complete.rs"
    content_pipeline at "../../examples/content_pipeline.rs"
    data_pipeline at "../../examples/data_pipeline.rs"
    flow_control at "../../examples/flow_control.rs"
    human_review at "../../examples/human_review.rs"
    lifecycle at "../../examples/lifecycle.rs"
    ml_training at "../../examples/ml_training.rs"
    needs at "../../examples/needs.rs"
    patterns at "../../examples/patterns.rs"
    pipeline at "../../examples/pipeline.rs"
    quick_start at "../../examples/quick_start.rs"
    recovery at "../../examples/recovery.rs"
    resources at "../../examples/resources.rs"
    retries at "../../examples/retries.rs"
    run_control at "../../examples/run_control.rs"
    service_tickets at "../../examples/service_tickets.rs"
    typed_context at "../../examples/typed_context.rs"
}

#[test]
fn every_example_is_run() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    let found: BTreeSet<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(found, NAMES.iter().map(ToString::to_string).collect());
}

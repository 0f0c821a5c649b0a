//! The `stepwell` command.

fn main() -> std::process::ExitCode {
    stepwell_cli::main()
}

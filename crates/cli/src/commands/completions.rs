//! `stepwell completions`: what a shell needs to complete commands and flags.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::{args, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn completions(args: &Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::Args::command(), "stepwell", &mut script);
    String::from_utf8_lossy(&script).lines().for_each(output::data);
    Exit::Ok
}

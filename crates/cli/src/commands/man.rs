//! `stepwell man`: the manual pages, made from the same words as the help.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;
use stepwell_core::error::{Code, ErrorObject};

use crate::exit::Exit;
use crate::{args, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes a page for each command into this directory [default: prints the page of stepwell]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &Args) -> Result<Exit, ErrorObject> {
    let command = args::Args::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).expect("a Vec takes all");
        String::from_utf8_lossy(&page).lines().for_each(output::data);
        return Ok(Exit::Ok);
    };
    std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir)).map_err(|error| {
        let message = format!("the pages cannot be written to {}: {error}", dir.display());
        ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("path", dir.display().to_string())
    })?;
    output::talk(&format!("the manual pages are in {}", dir.display()));
    Ok(Exit::Ok)
}

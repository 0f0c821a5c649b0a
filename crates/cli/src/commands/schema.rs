//! `stepwell schema`: the JSON Schema of workflow files, for editors.

use stepwell_core::error::ErrorObject;
use stepwell_engine::load;

use crate::exit::Exit;
use crate::{output, project};

pub(crate) fn schema() -> Result<Exit, ErrorObject> {
    output::document(&load::schema(&project::registry(&[])?));
    Ok(Exit::Ok)
}

//! Reads `stepwell.toml` by the declarations of its keys, and finds all that is wrong with it.

use std::ops::Range;

use stepwell_core::error::Code;
use stepwell_core::spelling;
use stepwell_core::workflow::path::Path;
use stepwell_engine::load::{Invalid, Position, Problem};
use toml::de::{DeTable, DeValue};

use super::Settings;
use super::keys::{KEYS, Value, Why, found};

/// Reads settings.
///
/// # Errors
/// Everything that keeps the text from being TOML; else every key and value that is none of the settings'.
pub(super) fn read(text: &str) -> Result<Settings, Invalid> {
    let mut reader = Reader { text, settings: Settings::default(), problems: Vec::new() };
    let (table, unreadable) = DeTable::parse_recoverable(text);
    for error in &unreadable {
        reader.tell(Path::root(), error.span().unwrap_or_default(), error.message().to_owned(), None);
    }
    if unreadable.is_empty() {
        reader.table("", table.get_ref());
    }
    let Reader { settings, problems, .. } = reader;
    if problems.is_empty() { Ok(settings) } else { Err(Invalid::of(problems)) }
}

/// So many problems are looked for.
const MAX_PROBLEMS: usize = 100;

struct Reader<'t> {
    text: &'t str,
    settings: Settings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads what stands in a table; the top of the file has no name.
    fn table(&mut self, table: &str, content: &DeTable) {
        for (name, value) in content {
            let path = path(table, name.get_ref());
            if let Some(key) = KEYS.iter().find(|key| key.table == table && key.name == name.get_ref()) {
                for wrong in (key.set)(&mut self.settings, value).err().into_iter().flatten() {
                    let why = match wrong.why {
                        Why::Because(why) => format!("cannot have this: {why}"),
                        Why::NotTaken(found) => format!("takes {}, not {found}", key.takes.replace('`', "'")),
                    };
                    self.tell(path.clone(), wrong.place, format!("'{path}' {why}"), None);
                }
            } else if table.is_empty() && KEYS.iter().any(|key| key.table == name.get_ref()) {
                self.inner(name.get_ref(), value);
            } else {
                let message = format!("there is no setting '{path}'");
                self.tell(path, name.span(), message, Some(nearest(table, name.get_ref())));
            }
        }
    }

    fn inner(&mut self, name: &str, value: &Value) {
        if let DeValue::Table(content) = value.get_ref() {
            return self.table(name, content);
        }
        let message = format!("'{name}' is a table, '[{name}]', not {}", found(value));
        self.tell(path("", name), value.span(), message, None);
    }

    fn tell(&mut self, path: Path, place: Range<usize>, message: String, hint: Option<String>) {
        // Places are found by going over the text.
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let at = position(self.text, &place);
        let mut problem = Problem::new(path, Some(at), message);
        problem.code = Code::CONFIGURATION_ERROR;
        problem.hint = hint;
        let about = at.of(self.text).filter(|about| !about.is_empty() && !about.contains('\n'));
        problem.end_column = about.map(|about| at.column + about.chars().count() as u32);
        self.problems.push(problem);
    }
}

fn path(table: &str, name: &str) -> Path {
    if table.is_empty() { Path::root().join(name) } else { Path::root().join(table).join(name) }
}

fn position(text: &str, place: &Range<usize>) -> Position {
    let before = text.get(..place.start).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    Position {
        line: 1 + before.matches('\n').count() as u32,
        column: 1 + before[line..].chars().count() as u32,
        start: before.len() as u32,
        end: place.end.clamp(before.len(), text.len()) as u32,
    }
}

/// Returns the key that may be meant, or those that there are.
fn nearest(table: &str, name: &str) -> String {
    let mut known: Vec<&str> = Vec::new();
    for key in KEYS.iter().filter(|key| table.is_empty() || key.table == table) {
        let name = if key.table == table { key.name } else { key.table };
        if !known.contains(&name) {
            known.push(name);
        }
    }
    spelling::nearest(name, known.iter().copied())
        .map_or_else(|| format!("known here: {}", known.join(", ")), |near| format!("did you mean '{near}'?"))
}

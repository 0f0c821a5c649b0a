//! Large values of a journal row, kept beside it by the hash of their content.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A larger encoded value goes to the blob table.
const LIMIT_BYTES: usize = 64 * 1024;

/// The only key of what stands for a value.
const KEY: &str = "$stepwell:blob";

/// Moves large values of an encoded row to the blob table. Returns the row as it is to be kept, and whether anything
/// was moved.
pub(super) fn split(conn: &Connection, run: i64, encoded: String) -> rusqlite::Result<(String, bool)> {
    if encoded.len() <= LIMIT_BYTES {
        return Ok((encoded, false));
    }
    let Ok(mut value) = serde_json::from_str::<Value>(&encoded) else { return Ok((encoded, false)) };
    let mut moved = Vec::new();
    shrink(&mut value, &mut moved, true);
    let mut insert =
        conn.prepare_cached("INSERT OR IGNORE INTO blobs (run, hash, data) VALUES (?1, ?2, ?3)")?;
    for (hash, data) in &moved {
        insert.execute(params![run, hash, data])?;
    }
    Ok((value.to_string(), !moved.is_empty()))
}

/// Replaces every value that is too large and has no part that is. Returns the encoded size of what is left.
fn shrink(value: &mut Value, moved: &mut Vec<(String, String)>, is_row: bool) -> usize {
    let before = moved.len();
    let inner: usize = match value {
        Value::Array(items) => items.iter_mut().map(|item| shrink(item, moved, false) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter_mut().map(|(key, item)| key.len() + 4 + shrink(item, moved, false)).sum::<usize>() + 2
        }
        Value::String(text) => text.len() + 2,
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string().len(),
    };
    if inner <= LIMIT_BYTES || is_row || moved.len() > before {
        return inner;
    }
    let data = value.to_string();
    let hash = Sha256::digest(data.as_bytes())
        .iter()
        .take(16)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    *value = Value::Object(Map::from_iter([(KEY.to_owned(), Value::from(hash.clone()))]));
    moved.push((hash, data));
    64
}

/// Puts the values of a row back.
pub(super) fn join(conn: &Connection, run: i64, value: &mut Value) -> rusqlite::Result<()> {
    if let Value::Object(map) = value
        && map.len() == 1
        && let Some(Value::String(hash)) = map.get(KEY)
    {
        let mut query = conn.prepare_cached("SELECT data FROM blobs WHERE run = ?1 AND hash = ?2")?;
        let data: Option<String> = query.query_row(params![run, hash], |row| row.get(0)).optional()?;
        if let Some(data) = data.and_then(|data| serde_json::from_str(&data).ok()) {
            *value = data;
        }
        return Ok(());
    }
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| join(conn, run, item)),
        Value::Object(map) => map.values_mut().try_for_each(|item| join(conn, run, item)),
        _ => Ok(()),
    }
}

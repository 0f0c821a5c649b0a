//! What a mistaken word or value may stand for.

use serde_json::Value;

/// Returns the known word most like a mistaken one, in whatever case, if one is alike.
///
/// ```
/// use stepwell_core::spelling::nearest;
/// let known = ["timeout", "retry", "needs"];
/// assert_eq!(nearest("tiemout", known), Some("timeout"));
/// assert_eq!(nearest("colour", known), None);
/// ```
pub fn nearest<'k>(mistaken: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = mistaken.chars().count();
    let allowed = (length / 3).max(1) + 1;
    // Words that differ so much in length need no closer look.
    let near = known.into_iter().filter(|word| word.chars().count().abs_diff(length) <= allowed);
    let scored = near.map(|word| (distance(&mistaken.to_lowercase(), &word.to_lowercase()), word));
    // Words that have nothing in common are not alike, however short they are.
    let alike = |(score, _): &(usize, &str)| *score <= allowed && *score < length;
    scored.min_by_key(|(score, _)| *score).filter(alike).map(|(_, word)| word)
}

/// Returns names that stand where a list of them should, as that list, in a form that YAML and JSON read.
pub fn as_list(text: &str) -> Option<String> {
    const LONGEST: usize = 100;
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_list = text.len() <= LONGEST && names.iter().all(|name| !name.is_empty());
    let quoted = names.iter().map(|name| Value::from(*name).to_string());
    is_list.then(|| format!("[{}]", quoted.collect::<Vec<_>>().join(", ")))
}

/// Reads a time as people write it, such as `10s`, `1.5 min` or `2h`, in seconds.
pub fn seconds_of(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let one = match unit.to_ascii_lowercase().as_str() {
        "ms" => 0.001,
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Some(number * one).filter(|seconds| seconds.is_finite())
}

/// Returns the Levenshtein distance of two short names.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_with_a_unit_is_understood_as_seconds() {
        let table = [("10s", 10.0), ("10", 10.0), ("1.5 min", 90.0), ("2H", 7_200.0), ("250ms", 0.25)];
        for (text, seconds) in table {
            assert_eq!(seconds_of(text), Some(seconds), "{text}");
        }
        for text in ["", "s", "soon", "1m30s", "1 fortnight", "NaN"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}

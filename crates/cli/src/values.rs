//! Values given as `key=value`, and times.

use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::Timestamp;
use stepwell_core::status::{RunStatus, UnknownWord};

/// Reads `key=value` pairs: a value is JSON if it parses, else text; `a.b=1` nests.
pub(crate) fn pairs(
    argument: &str,
    given: &[String],
    nests: bool,
) -> Result<Map<String, Value>, ErrorObject> {
    let mut map = Map::new();
    for pair in given {
        let Some((key, text)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let message = format!("{argument} wants key=value, not {pair:?}");
            return Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", argument));
        };
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let path: Vec<&str> = if nests { key.split('.').collect() } else { vec![key] };
        insert(&mut map, &path, value);
    }
    Ok(map)
}

fn insert(map: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            map.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let inner = map.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Shows a moment as RFC 3339 in UTC.
pub(crate) fn time(at: Timestamp) -> Value {
    Value::String(at.rfc3339())
}

/// Returns the moment, or what is nearest to it in the years that RFC 3339 can say.
fn tellable(at: Timestamp) -> jiff::Timestamp {
    let nearest = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(nearest)
}

/// Shows a moment that may not have come.
pub(crate) fn time_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}

/// Shows a moment to people: local time, to the second.
pub(crate) fn shown(at: Timestamp) -> String {
    shown_in(at, jiff::tz::TimeZone::system())
}

/// Shows a moment to people who know which day it is: without its day, if that is today.
pub(crate) fn shown_time(at: Timestamp, now: Timestamp) -> String {
    let (then, today) = (shown(at), shown(now));
    match then.split_once(' ') {
        Some((day, time)) if today.starts_with(day) => time.to_owned(),
        _ => then,
    }
}

fn shown_in(at: Timestamp, zone: jiff::tz::TimeZone) -> String {
    tellable(at).to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Shows to people how long something took.
pub(crate) fn took(from: Timestamp, to: Timestamp) -> String {
    let ms = to.ms_since(from);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// Shows how many there are of something whose plural ends in `s`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Lists the first of many names.
pub(crate) fn named(names: &[impl AsRef<str>]) -> String {
    const MOST: usize = 10;
    let shown = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(MOST);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// Shows a number of bytes.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => counted(bytes, "byte"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

/// Reads how many are asked for: at least one.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "it must be a whole number from 1".into())
}

/// Reads the words given with `--status`.
pub(crate) fn statuses(given: &[String]) -> Result<Vec<RunStatus>, ErrorObject> {
    let read = |word: &String| {
        word.parse().map_err(|error: UnknownWord| {
            ErrorObject::new(Code::INVALID_PARAMS, format!("--status: {error}")).with("parameter", "--status")
        })
    };
    given.iter().map(read).collect()
}

/// Reads a moment: RFC 3339, a day (its first moment, in local time), or `2h`, `3d`, `30m`, `10s` ago.
pub(crate) fn moment(argument: &str, text: &str, now: Timestamp) -> Result<Timestamp, ErrorObject> {
    moment_in(argument, text, now, jiff::tz::TimeZone::system())
}

fn moment_in(
    argument: &str,
    text: &str,
    now: Timestamp,
    zone: jiff::tz::TimeZone,
) -> Result<Timestamp, ErrorObject> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(at.as_microsecond()));
    }
    let day = jiff::civil::Date::strptime("%Y-%m-%d", text).and_then(|day| day.to_zoned(zone));
    if let Ok(begin) = day {
        return Ok(Timestamp(begin.timestamp().as_microsecond()));
    }
    let ago = text.char_indices().last().and_then(|(at, unit)| {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        text[..at].parse::<i64>().ok().and_then(|count| count.checked_mul(seconds * 1_000_000))
    });
    ago.and_then(|micros| now.0.checked_sub(micros)).map(Timestamp).ok_or_else(|| {
        let message =
            format!("{argument} wants a day, an RFC 3339 time or an age such as 2h or 3d, not {text:?}");
        ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", argument)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_times_to_the_second_and_durations_by_their_size() {
        let at = Timestamp(1_795_254_039_410_782);
        assert_eq!(shown_in(at, jiff::tz::TimeZone::fixed(jiff::tz::offset(2))), "2026-11-21 11:40:39");
        let after = |ms: i64| took(at, Timestamp(at.0 + ms * 1_000));
        assert_eq!([after(7), after(1_250), after(61_000)], ["7 ms", "1.2 s", "1 min 1 s"]);
        assert_eq!([after(7_500_000), after(-1)], ["2 h 5 min", "0 ms"]);
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        let at = moment_in("--since", "2026-11-21", Timestamp(0), zone).unwrap();
        assert_eq!(at.rfc3339(), "2026-11-20T22:00:00.000000Z");
        assert!(moment("--since", "2026-11-31", Timestamp(0)).is_err());
    }

    #[test]
    fn sizes_and_counts_are_told_in_words() {
        assert_eq!(
            [size(1), size(999), size(4_160), size(4_812_345)],
            ["1 byte", "999 bytes", "4.1 kB", "4.8 MB"]
        );
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!([named(&names[..2]), named(&names)], ["0, 1", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"]);
        assert_eq!([counted(1, "step"), counted(0, "step")], ["1 step", "0 steps"]);
    }

    #[test]
    fn a_moment_at_the_end_of_time_is_told_as_the_last_that_can_be_said() {
        let (begin, end) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        assert_eq!(time(end), "9999-12-31T23:59:59.999999Z");
        assert_eq!(shown_in(end, jiff::tz::TimeZone::UTC), "9999-12-30 22:00:00");
        assert_eq!(time(begin), "0000-01-01T00:00:00.000000Z");
        assert!(moment("--since", "-9223372036854s", Timestamp(9_000_000_000)).is_err());
    }
}

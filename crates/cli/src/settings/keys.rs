//! The keys of `stepwell.toml`, each declared once: where it stands, what it takes, what holds without it, and what it
//! means. The file is read by these declarations, and `docs/reference/stepwell-toml.md` is made of them.

use std::ops::Range;

use stepwell::AllowPrivate;
use toml::Spanned;
use toml::de::DeValue;

use super::{Bytes, Settings};

/// A key of the file.
#[derive(Debug)]
pub(crate) struct Key {
    /// The table it stands in; nothing is the top of the file.
    pub(crate) table: &'static str,
    pub(crate) name: &'static str,
    /// What it takes, in Markdown.
    pub(crate) takes: &'static str,
    /// What holds where it is not given, in Markdown.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes the page"))]
    pub(crate) default: &'static str,
    /// What it means, one line of Markdown.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes the page"))]
    pub(crate) meaning: &'static str,
    /// Takes a value over into the settings.
    pub(super) set: fn(&mut Settings, &Value) -> Result<(), Vec<Wrong>>,
}

/// All keys, in the order in which people read about them.
pub(crate) const KEYS: &[Key] = &[
    Key {
        table: "",
        name: "store",
        takes: "text",
        default: "`sqlite://.stepwell/stepwell.db`",
        meaning: "URL of the store: `sqlite://PATH` or `memory:`. A relative path starts at the project. \
                  `--store` and `STEPWELL_STORE` win",
        set: |settings, value| {
            let url = text(value)?;
            stepwell_store::check_url(url).map_err(|error| vec![Wrong::because(value, error.to_string())])?;
            settings.store = Some(url.to_owned());
            Ok(())
        },
    },
    Key {
        table: "",
        name: "sandbox",
        takes: "`off`, `auto` or `require`",
        default: "`off`",
        meaning: "whether the kernel confines what scripts and programs may do: [the sandbox](../sandbox.md). `--sandbox` \
                  and `STEPWELL_SANDBOX` win",
        set: |settings, value| {
            let mode = text(value)?.parse().map_err(|_| vec![Wrong::not_taken(value)]);
            mode.map(|mode| settings.sandbox = Some(mode))
        },
    },
    Key {
        table: "http",
        name: "allow_private",
        takes: "a list of texts",
        default: "`[]`",
        meaning: "addresses, networks and names of hosts that HTTP requests may reach beside the internet, or `all`. \
                  `--http-allow-private` and `STEPWELL_HTTP_ALLOW_PRIVATE` win",
        set: |settings, value| {
            let words = texts(value)?;
            let wrong: Vec<Wrong> = words
                .iter()
                .filter_map(|(word, place)| {
                    let unknown = AllowPrivate::read(&[word]).err()?;
                    Some(Wrong { place: place.clone(), why: Why::Because(unknown.to_string()) })
                })
                .collect();
            let words: Vec<&str> = words.into_iter().map(|(word, _)| word).collect();
            let allowed = AllowPrivate::read(&words).map_err(|_| wrong);
            allowed.map(|allowed| settings.http.allow_private = Some(allowed))
        },
    },
    Key {
        table: "python",
        name: "interpreter",
        takes: "text",
        default: "`python3`",
        meaning: "the Python of scripts: a name looked up in `PATH`, or a path, which starts at the project",
        set: |settings, value| text(value).map(|name| settings.python.interpreter = Some(name.into())),
    },
    Key {
        table: "python",
        name: "memory",
        takes: "a number of bytes from 1, or text such as `512 MiB` or `2 GiB`",
        default: "`2 GiB`",
        meaning: "memory of one process of a script or program",
        set: |settings, value| bytes(value).map(|memory| settings.python.memory = Some(memory)),
    },
    Key {
        table: "python",
        name: "env_allow",
        takes: "a list of texts",
        default: "`PATH`, `HOME`, `LANG`, `LC_*`, `TZ`, `TMPDIR`, `VIRTUAL_ENV`",
        meaning: "the environment variables that scripts and programs see, and no others; a star stands for any ending",
        set: |settings, value| {
            let names = texts(value)?.into_iter().map(|(name, _)| name.to_owned());
            settings.python.env_allow = Some(names.collect());
            Ok(())
        },
    },
];

/// A value, and where it stands.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// What is wrong with a value, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) place: Range<usize>,
    pub(super) why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    /// It is none of what the key takes, but this.
    NotTaken(String),
    Because(String),
}

impl Wrong {
    fn not_taken(value: &Value) -> Self {
        Self { place: value.span(), why: Why::NotTaken(found(value)) }
    }

    fn because(value: &Value, why: String) -> Self {
        Self { place: value.span(), why: Why::Because(why) }
    }
}

/// Says what stands in the place of something else.
pub(super) fn found(value: &Value) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(_) | DeValue::Float(_) => "a number".into(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn text<'v>(value: &'v Value) -> Result<&'v str, Vec<Wrong>> {
    value.get_ref().as_str().ok_or_else(|| vec![Wrong::not_taken(value)])
}

/// Reads a list of texts, each with its place.
fn texts<'v>(value: &'v Value) -> Result<Vec<(&'v str, Range<usize>)>, Vec<Wrong>> {
    let Some(list) = value.get_ref().as_array() else {
        return Err(vec![Wrong::not_taken(value)]);
    };
    let (mut texts, mut wrong) = (Vec::with_capacity(list.len()), Vec::new());
    for entry in list {
        match entry.get_ref().as_str() {
            Some(text) => texts.push((text, entry.span())),
            None => wrong.push(Wrong::not_taken(entry)),
        }
    }
    if wrong.is_empty() { Ok(texts) } else { Err(wrong) }
}

fn bytes(value: &Value) -> Result<Bytes, Vec<Wrong>> {
    let read = match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok().map(Bytes),
        DeValue::String(text) => amount(text),
        _ => None,
    };
    read.filter(|Bytes(bytes)| *bytes > 0).ok_or_else(|| vec![Wrong::not_taken(value)])
}

fn amount(text: &str) -> Option<Bytes> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = (text[..at].parse::<u64>().ok()?, text[at..].trim());
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(unit).map(Bytes)
}

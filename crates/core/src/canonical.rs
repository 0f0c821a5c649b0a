//! The canonical form of JSON: equal content is equal text, in whatever order its keys were given.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Returns the JSON of a value without blanks, the members of each object in the order of their keys.
///
/// # Panics
/// If the value cannot be JSON, as an object whose keys are no texts.
///
/// ```
/// use stepwell_core::canonical::canonical;
/// assert_eq!(canonical(&serde_json::json!({"b": [1, 2], "a": {"d": null, "c": "é"}})), r#"{"a":{"c":"é","d":null},"b":[1,2]}"#);
/// ```
pub fn canonical(value: &impl Serialize) -> String {
    let text = Shared::default();
    let mut serializer = serde_json::Serializer::with_formatter(text.clone(), Sorting(text.clone()));
    value.serialize(&mut serializer).expect("the value can be JSON");
    String::from_utf8(text.0.take().bytes).expect("JSON is UTF-8")
}

/// What is written and what was noted of it. The serializer hands bytes to its writer and structure to its formatter:
/// they are two halves of this.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Text>>);

struct Sorting(Shared);

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// Members of the objects that are open.
    members: Vec<Member>,
    /// The first member of each open object.
    open: Vec<usize>,
    /// Where an object is put in order.
    sorted: Vec<u8>,
}

#[derive(Clone)]
struct Member {
    /// The key without its quotes, as it is written.
    key: Range<usize>,
    end: usize,
}

impl Text {
    fn begin_key(&mut self, is_first: bool) {
        if !is_first {
            self.bytes.push(b',');
        }
        let quote = self.bytes.len();
        self.members.push(Member { key: quote + 1..quote, end: quote });
    }

    fn end_key(&mut self) {
        let quote = self.bytes.len() - 1;
        self.member().key.end = quote;
    }

    fn end_value(&mut self) {
        let end = self.bytes.len();
        self.member().end = end;
    }

    fn member(&mut self) -> &mut Member {
        self.members.last_mut().expect("a key was begun")
    }

    fn end_object(&mut self) {
        let first = self.open.pop().expect("an object was begun");
        let members = &mut self.members[first..];
        let begin = members.first().map(|member| member.key.start - 1);
        let bytes = &self.bytes;
        let key = |member: &Member| &bytes[member.key.clone()];
        if let Some(begin) = begin
            && !members.is_sorted_by_key(key)
        {
            members.sort_by(|a, b| key(a).cmp(key(b)));
            self.sorted.clear();
            for member in members {
                if !self.sorted.is_empty() {
                    self.sorted.push(b',');
                }
                self.sorted.extend_from_slice(&bytes[member.key.start - 1..member.end]);
            }
            self.bytes[begin..].copy_from_slice(&self.sorted);
        }
        self.members.truncate(first);
        self.bytes.push(b'}');
    }
}

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Formatter for Sorting {
    fn begin_object<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let mut text = self.0.0.borrow_mut();
        let first = text.members.len();
        text.open.push(first);
        text.bytes.push(b'{');
        Ok(())
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W, first: bool) -> io::Result<()> {
        self.0.0.borrow_mut().begin_key(first);
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.0.0.borrow_mut().end_key();
        Ok(())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.0.0.borrow_mut().end_value();
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.0.0.borrow_mut().end_object();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn members_stand_in_the_order_of_their_keys_at_every_depth() {
        let value =
            json!({"b": [{"z": 1, "a": {}}, []], "a": {"y": null, "x": "{\"q\":1,"}, "ab": 1.5, "": true});
        let expected = r#"{"":true,"a":{"x":"{\"q\":1,","y":null},"ab":1.5,"b":[{"a":{},"z":1},[]]}"#;
        assert_eq!(canonical(&value), expected);
    }

    #[derive(Serialize)]
    struct Pair {
        second: u8,
        first: &'static str,
    }

    #[test]
    fn structs_are_written_as_their_values() {
        let pair = Pair { second: 2, first: "one" };
        assert_eq!(canonical(&pair), r#"{"first":"one","second":2}"#);
        assert_eq!(canonical(&serde_json::to_value(&pair).unwrap()), canonical(&pair));
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 6, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from);
            let object = prop::collection::vec(("[\"\\\\a-c\u{1}]{0,3}", inner), 0..6);
            prop_oneof![list, object.prop_map(|members| Value::Object(members.into_iter().collect()))]
        })
    }

    /// The same value with the members of its objects the other way round.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(reversed).collect(),
            Value::Object(map) => {
                Value::Object(map.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect::<Map<_, _>>())
            }
            scalar => scalar.clone(),
        }
    }

    proptest! {
        #[test]
        fn it_is_the_same_value_and_knows_no_order_of_keys(value in values()) {
            let text = canonical(&value);
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            prop_assert_eq!(canonical(&reversed(&value)), text);
        }
    }
}

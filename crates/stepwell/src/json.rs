//! Values as JSON. What JSON cannot hold is an error, where `serde_json` would write `null` for a number that is none, and
//! so is what is nested deeper than any value may be, where it would overflow the stack.

use std::fmt::{self, Display};

use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::ser::{self, Serialize};
use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::nesting::MAX_NESTING;

use crate::error::StepError;

/// Turns a value into JSON; `what` it is, such as `context key 'n'`, is told if it is none.
pub(crate) fn to_json(
    value: &(impl Serialize + ?Sized),
    what: impl Fn() -> String,
) -> Result<Value, StepError> {
    let refused = |reason: &dyn Display| {
        let message = format!("{} cannot be kept as JSON: {reason}", what());
        StepError::from(ErrorObject::new(Code::TASK_RESULT_INVALID, message))
    };
    value.serialize(Fits { levels: MAX_NESTING }).map_err(|error| refused(&error))?;
    serde_json::to_value(value).map_err(|error| refused(&error))
}

/// Reads a value as a type.
pub(crate) fn from_json<T: DeserializeOwned>(
    value: &Value,
    what: impl FnOnce() -> String,
) -> Result<T, StepError> {
    T::deserialize(value).map_err(|error| {
        let message = format!("{} cannot be read as {}: {error}", what(), std::any::type_name::<T>());
        ErrorObject::new(Code::TASK_EXECUTION_FAILED, message).never_again().into()
    })
}

/// Goes through a value and finds numbers that are none, and lists and objects within too many others.
#[derive(Clone, Copy)]
struct Fits {
    /// So many levels may follow.
    levels: usize,
}

#[derive(Debug)]
struct Misfit(String);

impl Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl ser::Error for Misfit {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Found = Result<(), Misfit>;

fn finite(number: f64) -> Found {
    if number.is_finite() { Ok(()) } else { Err(Misfit(format!("{number} is not a finite number"))) }
}

impl Fits {
    fn within(self) -> Result<Self, Misfit> {
        let levels = self.levels.checked_sub(1);
        let too_deep = || Misfit(format!("it is nested deeper than {MAX_NESTING} levels"));
        Ok(Self { levels: levels.ok_or_else(too_deep)? })
    }
}

/// Values without parts that are always fine.
macro_rules! fine {
    ($($method:ident($($kind:ty),*))+) => {
        $(fn $method(self $(, _: $kind)*) -> Found {
            Ok(())
        })+
    };
}

impl Serializer for Fits {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fine! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_none() serialize_unit() serialize_unit_struct(&'static str)
        serialize_unit_variant(&'static str, u32, &'static str)
    }

    fn serialize_f32(self, number: f32) -> Found {
        finite(f64::from(number))
    }

    fn serialize_f64(self, number: f64) -> Found {
        finite(number)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Found {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Found {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Found {
        value.serialize(self.within()?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Misfit> {
        self.within()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Misfit> {
        self.within()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Misfit> {
        self.within()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Misfit> {
        self.within()?.within()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Misfit> {
        self.within()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Misfit> {
        self.within()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Misfit> {
        self.within()?.within()
    }
}

/// Values with parts: each part is looked at.
macro_rules! parts {
    ($($compound:ident $method:ident($($key:ty)?))+) => {
        $(impl ser::$compound for Fits {
            type Ok = ();
            type Error = Misfit;

            fn $method<T: Serialize + ?Sized>(&mut self $(, _: $key)?, value: &T) -> Found {
                value.serialize(*self)
            }

            fn end(self) -> Found {
                Ok(())
            }
        })+
    };
}

parts! {
    SerializeSeq serialize_element()
    SerializeTuple serialize_element()
    SerializeTupleStruct serialize_field()
    SerializeTupleVariant serialize_field()
    SerializeStruct serialize_field(&'static str)
    SerializeStructVariant serialize_field(&'static str)
}

impl ser::SerializeMap for Fits {
    type Ok = ();
    type Error = Misfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Found {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Found {
        value.serialize(*self)
    }

    fn end(self) -> Found {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn refused(value: impl Serialize) -> String {
        to_json(&value, || "context key 'n'".into()).unwrap_err().into_error().unwrap().message
    }

    #[test]
    fn a_number_that_is_none_is_refused_wherever_it_stands() {
        #[derive(serde::Serialize)]
        enum Shape {
            Circle { radius: f64 },
            Line(f32, f32),
        }
        let what = "context key 'n' cannot be kept as JSON: NaN is not a finite number";
        assert_eq!(refused(f64::NAN), what);
        assert_eq!(refused(vec![Some(1.0), Some(f64::NAN)]), what);
        assert_eq!(refused(BTreeMap::from([("a", (1, f32::NAN))])), what);
        assert_eq!(refused(Shape::Circle { radius: f64::NAN }), what);
        assert!(refused(Shape::Line(1.0, f32::INFINITY)).ends_with("inf is not a finite number"));
    }

    #[test]
    fn numbers_out_of_range_and_keys_that_are_no_text_are_refused() {
        assert!(refused(u128::MAX).ends_with("number out of range"));
        assert!(refused(BTreeMap::from([((1, 2), 3)])).ends_with("key must be a string"));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_overflows_nothing() {
        let nested = |levels| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(to_json(&nested(MAX_NESTING), String::new).is_ok());
        let what = "context key 'n' cannot be kept as JSON: it is nested deeper than 100 levels";
        assert_eq!(refused(nested(MAX_NESTING + 1)), what);
        assert_eq!(refused(Some(nested(5_000))), what);
    }

    #[test]
    fn what_is_json_is_kept() {
        let value = (u64::MAX, i64::MIN, "é", Some([1.5]), (), BTreeMap::from([(1, false)]));
        let kept = to_json(&value, String::new).unwrap();
        assert_eq!(kept, serde_json::json!([u64::MAX, i64::MIN, "é", [1.5], null, { "1": false }]));
    }
}

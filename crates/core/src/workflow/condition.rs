//! `when`: conditions that decide whether a step runs (spec/gleitzeit.md §1.4).
//!
//! `[not] ${ref}` asks whether a value is something; `${ref} OP literal` compares it with a JSON literal.
//! Nothing else is a condition: no functions, no `and`; several conditions mean all of them.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::path::Path;
use super::template::{Dollars, MissingReference, Names, ProblemKind, Reference, Scope, TemplateProblem};

/// One condition.
///
/// ```
/// use serde_json::json;
/// use stepwell_core::workflow::condition::Condition;
/// use stepwell_core::workflow::template::{Root, Scope, View};
///
/// struct Rows(u32);
/// impl Scope for Rows {
///     fn root(&self, _root: &Root) -> Option<View<'_>> {
///         Some(View::from(json!({"rows": self.0})))
///     }
/// }
///
/// let condition = Condition::parse("${input.rows} >= 10", &()).unwrap();
/// assert!(condition.holds(&Rows(12)).unwrap());
/// assert!(!condition.holds(&Rows(3)).unwrap());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    reference: Reference,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    IsSomething { negated: bool },
    Compare(Operator, Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longer ones first, since they begin like the shorter ones.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// Why a condition has no answer: `TASK_PARAMETER_ERROR`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Its reference has no value.
    #[error(transparent)]
    Missing(#[from] MissingReference),
    /// An order was asked for that the two values do not have.
    #[error(
        "'${{{reference}}} {operator} …' compares {found} with {literal}; only two numbers or two strings have an order"
    )]
    NoOrder {
        /// The reference, without `${` and `}`.
        reference: String,
        /// `<`, `<=`, `>` or `>=`.
        operator: &'static str,
        /// The kind of value that was found.
        found: &'static str,
        /// The kind of the literal.
        literal: &'static str,
    },
}

impl ConditionError {
    /// Returns the reference that the condition is about.
    pub fn reference(&self) -> &str {
        match self {
            Self::Missing(missing) => &missing.reference,
            Self::NoOrder { reference, .. } => reference,
        }
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// Everything that is not `[not] ${ref}` or `${ref} OP literal`, and an unknown root.
    pub fn parse(text: &str, names: &dyn Names) -> Result<Self, TemplateProblem> {
        let syntax = |why: &str| TemplateProblem {
            path: Path::root(),
            at: 0,
            kind: ProblemKind::Syntax,
            message: format!("{text:?} is not a condition: {why}"),
        };
        let misformed =
            |why: &str| syntax(&format!("{why}; write '${{ref}}', 'not ${{ref}}' or '${{ref}} == literal'"));
        let trimmed = text.trim();
        let (negated, rest) = match trimmed.strip_prefix("not") {
            Some(rest) if rest.starts_with([' ', '\t', '$']) => (true, rest.trim_start()),
            _ => (false, trimmed),
        };
        let Some(inner) = rest.strip_prefix("${") else {
            return Err(misformed("it begins with a reference"));
        };
        let at = text.trim_end().len() - rest.len();
        let (reference, len) =
            Reference::parse(inner, names).map_err(|fault| TemplateProblem::new(&Path::root(), at, fault))?;
        let rest = inner[len..].trim();
        if rest.is_empty() {
            return Ok(Self { reference, test: Test::IsSomething { negated } });
        }
        if let Some(why) = joined(rest) {
            return Err(syntax(why));
        }
        if negated {
            return Err(misformed("'not' stands before a reference alone"));
        }
        let Some((sign, operator)) = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
            return Err(match rest.strip_prefix('=') {
                Some(_) => syntax("'=' compares nothing; did you mean '=='?"),
                None => misformed("after the reference comes one of == != < <= > >="),
            });
        };
        let literal = rest[sign.len()..].trim();
        if let Some(why) = behind_value(literal).and_then(joined) {
            return Err(syntax(why));
        }
        let Some(literal) = plain(literal) else {
            return Err(misformed("the right side is a literal, not a reference"));
        };
        let Ok(literal) = serde_json::from_str(&literal) else {
            return Err(misformed("the right side is written as JSON, texts in double quotes"));
        };
        Ok(Self { reference, test: Test::Compare(operator, literal) })
    }

    /// Returns the reference that the condition is about.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Returns whether the condition holds.
    ///
    /// # Errors
    /// [`ConditionError`] if the reference has no value, or has no order with the literal.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, ConditionError> {
        let value = self.reference.lookup(scope)?;
        match &self.test {
            Test::IsSomething { negated } => Ok(is_something(&value) != *negated),
            Test::Compare(Operator::Equal, literal) => Ok(is_equal(&value, literal)),
            Test::Compare(Operator::NotEqual, literal) => Ok(!is_equal(&value, literal)),
            Test::Compare(operator, literal) => {
                let order = order(&value, literal).ok_or_else(|| ConditionError::NoOrder {
                    reference: self.reference.source().to_owned(),
                    operator: OPERATORS.iter().find(|(_, o)| o == operator).map_or("", |(sign, _)| sign),
                    found: kind(&value),
                    literal: kind(literal),
                })?;
                Ok(match operator {
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    Operator::GreaterOrEqual => order.is_ge(),
                    Operator::Equal | Operator::NotEqual => unreachable!("answered above"),
                })
            }
        }
    }
}

/// Returns whether all conditions hold, asking them in order and stopping at the first that does not.
///
/// # Errors
/// As [`Condition::holds`].
pub fn all_hold(conditions: &[Condition], scope: &dyn Scope) -> Result<bool, ConditionError> {
    for condition in conditions {
        if !condition.holds(scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns what stands in the way if a text goes on with another condition.
fn joined(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    let begins = |word: &str| {
        let rest = text.get(..word.len()).filter(|begin| begin.eq_ignore_ascii_case(word));
        rest.is_some() && text[word.len()..].starts_with([' ', '\t', '$', '('])
    };
    if begins("and") || begins("&&") {
        return Some("there is no 'and'; conditions that all must hold are a list: [\"…\", \"…\"]");
    }
    (begins("or") || begins("||")).then_some("there is no 'or'; an earlier step can put it into one value")
}

/// Returns what follows the JSON value that a text begins with.
fn behind_value(text: &str) -> Option<&str> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    values.next()?.ok()?;
    text.get(values.byte_offset()..)
}

/// Undoes escapes; `None` if there is a reference.
fn plain(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut at = 0;
    while at < text.len() {
        if let Some(dollars) = Dollars::read(text, at) {
            if dollars.is_reference {
                return None;
            }
            out.extend(std::iter::repeat_n('$', dollars.literal));
            at = dollars.brace;
        } else {
            let c = text[at..].chars().next().expect("'at' is before the end");
            out.push(c);
            at += c.len_utf8();
        }
    }
    Some(out)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Equality in which 1 and 1.0 are the same number, at any depth.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_equal(a, b)))
        }
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Compares exactly: an integer that a float cannot hold is not rounded to it.
fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let integer = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => compare_with_float(a, b.as_f64()?),
        (None, Some(b)) => compare_with_float(b, a.as_f64()?).map(Ordering::reverse),
        (None, None) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn compare_with_float(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // `as` saturates far outside the range of 64-bit integers, which keeps the order.
    let whole = float.trunc() as i128;
    Some(integer.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(float - float.trunc() + 0.0))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::template::{Root, View};
    use super::*;

    struct Input(Value);

    impl Scope for Input {
        fn root(&self, root: &Root) -> Option<View<'_>> {
            (*root == Root::Input).then(|| View::from(&self.0))
        }
    }

    fn holds(text: &str, value: &Value) -> Result<bool, ConditionError> {
        Condition::parse(text, &()).unwrap().holds(&Input(json!({"v": value})))
    }

    #[test]
    fn seven_values_are_nothing() {
        for nothing in
            [json!(null), json!(false), json!(0), json!(0.0), json!(-0.0), json!(""), json!([]), json!({})]
        {
            assert!(!holds("${input.v}", &nothing).unwrap(), "{nothing}");
            assert!(holds(" not ${input.v} ", &nothing).unwrap(), "{nothing}");
        }
        for something in [json!(true), json!(-1), json!(0.1), json!("0"), json!([0]), json!({"a": null})] {
            assert!(holds("${input.v}", &something).unwrap(), "{something}");
            assert!(!holds("not ${input.v}", &something).unwrap());
        }
    }

    #[test]
    fn comparisons_follow_json() {
        for (text, value, expected) in [
            ("${input.v} == 1", json!(1.0), true),
            ("${input.v}==\"a b\"", json!("a b"), true),
            ("${input.v} == [1, {\"a\": null}]", json!([1.0, {"a": null}]), true),
            ("${input.v} != 1", json!("1"), true),
            ("${input.v} == null", json!(null), true),
            ("${input.v} == \"$${x}\"", json!("${x}"), true),
            ("${input.v} < 2.5", json!(2), true),
            ("${input.v} <= 2.5", json!(3), false),
            ("${input.v} > -0.5", json!(0), true),
            ("${input.v} < -0.5", json!(0), false),
            ("${input.v} >= 9007199254740993", json!(9_007_199_254_740_992_i64), false),
            ("${input.v} > 9007199254740992.0", json!(9_007_199_254_740_993_i64), true),
            ("${input.v} >= 18446744073709551615", json!(u64::MAX), true),
            ("${input.v} >= \"b\"", json!("ä"), true),
            ("${input.v} < 1e300", json!(u64::MAX), true),
        ] {
            assert_eq!(holds(text, &value), Ok(expected), "{text} with {value}");
        }
    }

    #[test]
    fn only_numbers_and_strings_have_an_order() {
        for value in [json!("1"), json!(null), json!(true), json!([1])] {
            let error = holds("${input.v} < 2", &value).unwrap_err();
            assert!(matches!(error, ConditionError::NoOrder { operator: "<", .. }), "{error}");
            assert_eq!(error.reference(), "input.v");
        }
        assert!(holds("${input.v} < [2]", &json!([1])).is_err());
    }

    #[test]
    fn a_missing_value_is_an_error_not_false() {
        let error = Condition::parse("${input.x}", &()).unwrap().holds(&Input(json!({}))).unwrap_err();
        assert!(matches!(error, ConditionError::Missing(_)));
    }

    #[test]
    fn any_other_syntax_is_refused() {
        for text in [
            "",
            "true",
            "not",
            "input.v",
            "${input.v} = 1",
            "${input.v} == ${input.w}",
            "${input.v} == 'a'",
            "${input.v} and ${input.w}",
            "not ${input.v} == 1",
            "${input.v} == ",
            "${input.v} == 1 2",
            "1 == ${input.v}",
            "!${input.v}",
            "${nope}",
            "$${input.v}",
            "not not ${input.v}",
            "${input.v",
        ] {
            assert!(Condition::parse(text, &()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_seems_to_be_meant_is_told() {
        for (text, told) in [
            ("${input.v} > 3 and ${input.w}", "there is no 'and'; conditions that all must hold are a list"),
            ("${input.v} && ${input.w}", "there is no 'and'"),
            ("not ${input.v} and not ${input.w}", "there is no 'and'"),
            ("${input.v} == \"a and b\" AND ${input.w}", "there is no 'and'"),
            ("${input.v} == 1 or ${input.w}", "there is no 'or'"),
            ("${input.v} = 3", "did you mean '=='?"),
            ("${input.v} order 3", "one of == != < <= > >="),
            ("${input.v} == ${input.w} and 1", "a literal, not a reference"),
        ] {
            let problem = Condition::parse(text, &()).unwrap_err();
            assert!(problem.message.contains(told), "{text}: {}", problem.message);
        }
        assert_eq!(holds("${input.v} == \"a and b\"", &json!("a and b")), Ok(true));
    }

    #[test]
    fn a_list_stops_at_the_first_that_does_not_hold() {
        let conditions: Vec<_> =
            ["${input.a}", "${input.missing}"].map(|text| Condition::parse(text, &()).unwrap()).into();
        assert_eq!(all_hold(&conditions, &Input(json!({"a": false}))), Ok(false));
        assert!(all_hold(&conditions, &Input(json!({"a": true}))).is_err());
        assert_eq!(all_hold(&[], &Input(json!({}))), Ok(true));
    }
}

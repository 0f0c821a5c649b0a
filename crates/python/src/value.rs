//! Values across the border: JSON on the one side, plain Python objects on the other.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};
use stepwell_core::nesting::MAX_NESTING;

use crate::errors::context_type_error;

/// Makes JSON of a Python object; `what` it is, such as `context key 'n'`, is told if it is none.
///
/// # Errors
/// `ContextTypeError`, a `TypeError` that names the type.
pub(crate) fn to_json(object: &Bound<'_, PyAny>, what: &dyn Fn() -> String) -> PyResult<Value> {
    part_to_json(object, MAX_NESTING).map_err(|misfit| match misfit {
        Misfit::Python(error) => error,
        Misfit::Reason(reason) => {
            context_type_error(object.py(), &format!("{} cannot be kept as JSON: {reason}", what()))
        }
    })
}

enum Misfit {
    Reason(String),
    Python(PyErr),
}

impl From<PyErr> for Misfit {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

fn misfit<T>(reason: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit::Reason(reason.into()))
}

fn part_to_json(object: &Bound<'_, PyAny>, levels: usize) -> Result<Value, Misfit> {
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = object.cast::<PyString>() {
        // Half of a surrogate pair is no text that UTF-8 can hold.
        return match text.to_str() {
            Ok(text) => Ok(text.into()),
            Err(_) => misfit("a str with a lone surrogate is no text"),
        };
    }
    if let Ok(truth) = object.cast::<PyBool>() {
        return Ok(truth.is_true().into());
    }
    if object.is_instance_of::<PyInt>() {
        if let Ok(number) = object.extract::<i64>() {
            return Ok(number.into());
        }
        return match object.extract::<u64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => misfit("an int must lie between -2**63 and 2**64 - 1"),
        };
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        let number = number.value();
        return match Number::from_f64(number) {
            Some(number) => Ok(Value::Number(number)),
            None => misfit(format!("{number} is not a finite number")),
        };
    }
    let Some(levels) = levels.checked_sub(1) else {
        return misfit(format!("it is nested deeper than {MAX_NESTING} levels"));
    };
    if let Ok(list) = object.cast::<PyList>() {
        let parts = list.iter().map(|part| part_to_json(&part, levels));
        return parts.collect::<Result<Vec<_>, _>>().map(Value::Array);
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        let parts = tuple.iter().map(|part| part_to_json(&part, levels));
        return parts.collect::<Result<Vec<_>, _>>().map(Value::Array);
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let mut map = Map::with_capacity(dict.len());
        for (key, value) in dict.iter() {
            let Ok(key) = key.cast::<PyString>() else {
                return misfit(format!("the keys of a dict must be str, not {}", key.get_type().name()?));
            };
            map.insert(key.to_str()?.to_owned(), part_to_json(&value, levels)?);
        }
        return Ok(Value::Object(map));
    }
    let name = object.get_type().qualname()?;
    let hint = match name.to_str()? {
        "coroutine" => ": was an `await` forgotten?",
        "datetime" | "date" | "time" => ": keep its `isoformat()`, or a dataclass that has it by `set_typed`",
        _ => "",
    };
    misfit(format!("{name} is not str, bool, int, float, None, list or dict{hint}"))
}

/// Makes a Python object of JSON.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Number(number) => number_to_python(py, number)?,
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(parts) => {
            let list = PyList::empty(py);
            for part in parts {
                list.append(to_python(py, part)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => map_to_python(py, map)?.into_any(),
    })
}

/// Makes a dict of a JSON object.
pub(crate) fn map_to_python<'py>(py: Python<'py>, map: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

fn number_to_python<'py>(py: Python<'py>, number: &Number) -> PyResult<Bound<'py, PyAny>> {
    if let Some(number) = number.as_i64() {
        return Ok(number.into_pyobject(py)?.into_any());
    }
    if let Some(number) = number.as_u64() {
        return Ok(number.into_pyobject(py)?.into_any());
    }
    match number.as_f64() {
        Some(number) => Ok(PyFloat::new(py, number).into_any()),
        None => Err(PyValueError::new_err(format!("{number} is no number that Python knows"))),
    }
}

//! Outputs of a step that this process remembers, by input.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use stepwell_core::canonical::canonical;

use super::stage::{Function, Output};

/// The outputs of one step, those asked for last.
#[derive(Default)]
pub(super) struct Cache {
    /// By the text of the input: when it was last asked for, and the output.
    known: HashMap<String, (u64, Value)>,
    /// The texts by when they were last asked for.
    by_age: BTreeMap<u64, String>,
    now: u64,
}

/// So many outputs are kept; those that nobody asked for the longest go.
const LIMIT: usize = 1_000;

impl Cache {
    /// Returns a function that calls this one only for inputs whose output is not remembered.
    pub(super) fn over(function: Function) -> Function {
        let cache = Arc::new(Mutex::new(Self::default()));
        Arc::new(move |cx, input| {
            let text = canonical(&*input);
            let (cache, running) = (cache.clone(), function.clone());
            Box::pin(async move {
                let lock = || cache.lock().expect("no panic happens under this lock");
                let known = lock().get(&text);
                if let Some(value) = known {
                    return Ok(Output { value, cached: true });
                }
                let output = running(cx, input).await?;
                lock().put(text, output.value.clone());
                Ok(output)
            })
        })
    }

    fn get(&mut self, text: &str) -> Option<Value> {
        let (asked, output) = self.known.get_mut(text)?;
        self.now += 1;
        let text = self.by_age.remove(asked)?;
        self.by_age.insert(self.now, text);
        *asked = self.now;
        Some(output.clone())
    }

    fn put(&mut self, text: String, output: Value) {
        self.now += 1;
        if let Some((asked, _)) = self.known.insert(text.clone(), (self.now, output)) {
            self.by_age.remove(&asked);
        }
        self.by_age.insert(self.now, text);
        if self.known.len() > LIMIT
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_the_longest_goes() {
        let mut cache = Cache::default();
        for n in 0..LIMIT {
            cache.put(n.to_string(), n.into());
        }
        assert_eq!(cache.get("0"), Some(0.into()));
        cache.put("one more".into(), Value::Null);
        assert_eq!(cache.get("1"), None);
        assert_eq!(cache.get("0"), Some(0.into()));
        assert_eq!((cache.known.len(), cache.by_age.len()), (LIMIT, LIMIT));
    }
}

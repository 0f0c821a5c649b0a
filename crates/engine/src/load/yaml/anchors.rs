//! What anchors name, and how much of it aliases may repeat.

use serde_json::Value;

use crate::load::node::{Kind, Position};
use crate::load::unreadable::{MAX_DEPTH, Unreadable};

/// So many values are repeated, the copies of what has an anchor included: a few of each of a hundred thousand steps.
const MAX_VALUES: usize = 1_000_000;

/// So many bytes of text are repeated.
const MAX_BYTES: usize = 16 << 20;

/// What has an anchor, by the number that the parser gives it.
#[derive(Default)]
pub(super) struct Anchors {
    /// None: not complete yet.
    named: Vec<Option<Named>>,
    repeated: Size,
}

struct Named {
    kind: Kind,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
    /// Lists and objects within each other.
    levels: usize,
}

impl Anchors {
    /// Keeps what an anchor names.
    ///
    /// # Errors
    /// All that is repeated is too much.
    pub(super) fn name(&mut self, anchor: usize, kind: &Kind, at: Position) -> Result<(), Unreadable> {
        let size = Size::of(kind);
        self.repeated.count(size, at)?;
        if self.named.len() <= anchor {
            self.named.resize_with(anchor + 1, || None);
        }
        self.named[anchor] = Some(Named { kind: kind.clone(), size });
        Ok(())
    }

    /// Returns what an anchor names, with every place that of the alias, which stands within so many levels.
    ///
    /// # Errors
    /// The alias is a part of what it stands for, or what is repeated is too much or too deep.
    pub(super) fn repeat(&mut self, anchor: usize, at: Position, within: usize) -> Result<Kind, Unreadable> {
        let Self { named, repeated } = self;
        let Some(Some(Named { kind, size })) = named.get(anchor) else {
            return Err(Unreadable::new("this alias stands within what it stands for", at));
        };
        if within + size.levels > MAX_DEPTH {
            return Err(Unreadable::too_deep(at));
        }
        repeated.count(*size, at)?;
        Ok(kind.moved_to(Some(at)))
    }
}

impl Size {
    fn of(kind: &Kind) -> Self {
        let mut size = Self { values: 1, ..Self::default() };
        match kind {
            Kind::Scalar(Value::String(text)) => size.bytes = text.len(),
            Kind::Scalar(_) => {}
            Kind::List(nodes) => nodes.iter().for_each(|node| size.hold(Self::of(&node.kind))),
            Kind::Object(members) => {
                for member in members {
                    size.bytes += member.key.len();
                    size.hold(Self::of(&member.value.kind));
                }
            }
        }
        size.levels += usize::from(!matches!(kind, Kind::Scalar(_)));
        size
    }

    fn count(&mut self, more: Self, at: Position) -> Result<(), Unreadable> {
        self.values += more.values;
        self.bytes += more.bytes;
        if self.values > MAX_VALUES || self.bytes > MAX_BYTES {
            let message = format!(
                "its anchors and aliases repeat more than {MAX_VALUES} values or {} MiB of text",
                MAX_BYTES >> 20
            );
            return Err(Unreadable::new(message, at));
        }
        Ok(())
    }

    fn hold(&mut self, inner: Self) {
        self.values += inner.values;
        self.bytes += inner.bytes;
        self.levels = self.levels.max(inner.levels);
    }
}

//! Resources that a process shares among its attempts: amounts of processor, memory and whatever else has a name.
//!
//! [`Resources`] is what a step asks for, or what a process has. [`Room`] is what is free of it, with the rule who may
//! take of it: all that is asked for or nothing, and nobody takes away what an earlier one lacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Amounts by dimension. A dimension that is not named is none of its concern.
///
/// ```
/// use stepwell_core::policy::resources::Resources;
/// let asked = Resources::cpu(2).memory_mb(1024).custom("licences", 1);
/// assert_eq!(asked.get("cpu_units"), Some(2.0));
/// assert_eq!(asked.get("gpu_units"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(BTreeMap<String, f64>);

impl Resources {
    /// Returns so many processors, and nothing else.
    pub fn cpu(units: impl Into<f64>) -> Self {
        Self::default().custom("cpu_units", units)
    }

    /// Says how much memory.
    #[must_use]
    pub fn memory_mb(self, megabytes: impl Into<f64>) -> Self {
        self.custom("memory_mb", megabytes)
    }

    /// Says how much of the disks.
    #[must_use]
    pub fn io(self, weight: impl Into<f64>) -> Self {
        self.custom("io_weight", weight)
    }

    /// Says how much of the network.
    #[must_use]
    pub fn network(self, weight: impl Into<f64>) -> Self {
        self.custom("network_weight", weight)
    }

    /// Says how many graphics processors.
    #[must_use]
    pub fn gpu(self, units: impl Into<f64>) -> Self {
        self.custom("gpu_units", units)
    }

    /// Says how much of something of any name.
    #[must_use]
    pub fn custom(mut self, dimension: &str, amount: impl Into<f64>) -> Self {
        self.0.insert(dimension.to_owned(), amount.into());
        self
    }

    /// Returns the amount of a dimension, if it is named.
    pub fn get(&self, dimension: &str) -> Option<f64> {
        self.0.get(dimension).copied()
    }

    /// Returns the dimensions and their amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(dimension, amount)| (dimension.as_str(), *amount))
    }

    /// Returns whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is wrong, of the first dimension that something is wrong with.
    pub fn fault(&self) -> Option<String> {
        self.iter().find_map(|(dimension, amount)| {
            if let Some(reason) = crate::workflow::bad_name(dimension) {
                Some(format!("the resource {dimension:?} {reason}"))
            } else if !amount.is_finite() || amount < 0.0 {
                Some(format!("{dimension} must be a number that is not negative, not {amount}"))
            } else {
                None
            }
        })
    }
}

/// What is free of the resources of a process. The default has no dimension, so that everything fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room(BTreeMap<String, Dimension>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dimension {
    total: u128,
    free: u128,
    /// Somebody who goes first lacks some of it.
    is_reserved: bool,
}

/// Amounts are counted in millionths, so that what is given back leaves no trace of rounding.
const PARTS: f64 = 1e6;

fn parts(amount: f64) -> u128 {
    (amount * PARTS).round() as u128
}

fn amount(parts: u128) -> f64 {
    parts as f64 / PARTS
}

impl Room {
    /// Returns the room of a process that has those resources and nothing to do.
    pub fn of(totals: &Resources) -> Self {
        let dimensions = totals.iter().map(|(name, total)| {
            let total = parts(total);
            (name.to_owned(), Dimension { total, free: total, is_reserved: false })
        });
        Self(dimensions.collect())
    }

    /// Returns whether there is a total of that dimension.
    pub fn counts(&self, dimension: &str) -> bool {
        self.0.contains_key(dimension)
    }

    /// Returns whether it bounds any dimension that is asked for.
    pub fn bounds(&self, asked: &Resources) -> bool {
        asked.iter().any(|(name, amount)| parts(amount) > 0 && self.counts(name))
    }

    /// Returns a dimension that is asked for beyond its total, with what is asked for and the total.
    pub fn exceeded<'a>(&self, asked: &'a Resources) -> Option<(&'a str, f64, f64)> {
        asked.iter().find_map(|(name, asked)| {
            let total = self.0.get(name)?.total;
            (parts(asked) > total).then(|| (name, asked, amount(total)))
        })
    }

    /// Takes all that is asked for, or nothing. Who does not fit reserves what it lacks for itself: nobody after it gets
    /// any of that. Who could not even fit if everything were free reserves nothing. Dimensions without a total are not
    /// counted.
    #[must_use]
    pub fn take(&mut self, asked: &Resources) -> bool {
        if self.exceeded(asked).is_some() {
            return false;
        }
        let mut fits = true;
        for (name, amount) in asked.iter().map(|(name, amount)| (name, parts(amount))).filter(|(_, n)| *n > 0)
        {
            if let Some(dimension) = self.0.get_mut(name)
                && (dimension.is_reserved || dimension.free < amount)
            {
                dimension.is_reserved = true;
                fits = false;
            }
        }
        if fits {
            self.book(asked);
        }
        fits
    }

    /// Takes what is known to fit, whatever is reserved.
    pub fn book(&mut self, asked: &Resources) {
        for (name, amount) in asked.iter() {
            if let Some(dimension) = self.0.get_mut(name) {
                let left = dimension.free.checked_sub(parts(amount));
                dimension.free = left.expect("nobody books more than is free");
            }
        }
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, taken: &Resources) {
        for (name, amount) in taken.iter() {
            if let Some(dimension) = self.0.get_mut(name) {
                dimension.free += parts(amount);
                debug_assert!(dimension.free <= dimension.total, "more {name} was given back than taken");
            }
        }
    }

    /// Forgets who lacked what.
    pub fn reserve_nothing(&mut self) {
        for dimension in self.0.values_mut() {
            dimension.is_reserved = false;
        }
    }

    /// Returns what is taken; nothing of what is not.
    pub fn taken(&self) -> Resources {
        let taken = self.0.iter().map(|(name, dimension)| (name, dimension.total - dimension.free));
        Resources(taken.filter(|(_, n)| *n > 0).map(|(name, n)| (name.clone(), amount(n))).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_gets_all_it_asks_for_or_nothing() {
        let mut room = Room::of(&Resources::cpu(4).memory_mb(100));
        assert!(room.take(&Resources::cpu(2).memory_mb(60)));
        assert!(!room.take(&Resources::cpu(1).memory_mb(60)));
        assert_eq!(room.taken(), Resources::cpu(2).memory_mb(60));
    }

    #[test]
    fn only_who_asks_for_nothing_that_an_earlier_one_lacks_passes_it() {
        let mut room = Room::of(&Resources::cpu(4).memory_mb(100));
        assert!(room.take(&Resources::cpu(2)));
        assert!(!room.take(&Resources::cpu(3).memory_mb(10)), "lacks processors, and memory not");
        assert!(!room.take(&Resources::cpu(1)));
        assert!(room.take(&Resources::cpu(0).memory_mb(20)), "nothing is asked of what is reserved");
        room.reserve_nothing();
        assert!(room.take(&Resources::cpu(1)));
    }

    #[test]
    fn what_could_never_fit_stands_in_nobodys_way() {
        let mut room = Room::of(&Resources::cpu(4));
        assert_eq!(room.exceeded(&Resources::cpu(4.5)), Some(("cpu_units", 4.5, 4.0)));
        assert!(!room.take(&Resources::cpu(4.5)));
        assert!(room.take(&Resources::cpu(4)));
    }

    #[test]
    fn dimensions_without_a_total_are_not_counted() {
        let mut room = Room::of(&Resources::cpu(1));
        assert!(!room.bounds(&Resources::default().gpu(1)));
        assert!(room.take(&Resources::default().gpu(8)));
        assert!(room.taken().is_empty());
    }

    #[test]
    fn tenths_add_up() {
        let mut room = Room::of(&Resources::cpu(0.3));
        assert!((0..3).all(|_| room.take(&Resources::cpu(0.1))));
        assert!(!room.take(&Resources::cpu(0.000_001)));
    }

    #[test]
    fn amounts_are_finite_and_not_negative() {
        assert_eq!(Resources::cpu(0.5).memory_mb(0).fault(), None);
        for amount in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Resources::cpu(1).memory_mb(amount).fault().unwrap().starts_with("memory_mb must be"));
        }
        assert!(Resources::default().custom("", 1).fault().is_some());
    }

    fn some() -> impl Strategy<Value = Resources> {
        let amount = || prop::option::of((0u32..50).prop_map(|tenths| f64::from(tenths) / 10.0));
        (amount(), amount(), amount()).prop_map(|amounts| {
            let named = [("cpu_units", amounts.0), ("memory_mb", amounts.1), ("unknown", amounts.2)];
            let named = named.into_iter().filter_map(|(name, amount)| Some((name, amount?)));
            named.fold(Resources::default(), |all, (name, amount)| all.custom(name, amount))
        })
    }

    proptest! {
        /// Whatever is asked for and given back in whatever order.
        #[test]
        fn what_is_taken_never_exceeds_a_total_and_all_of_it_comes_back(
            asked in prop::collection::vec((some(), any::<prop::sample::Index>(), any::<bool>()), 1..40),
        ) {
            let totals = Resources::cpu(4).memory_mb(3.5);
            let mut room = Room::of(&totals);
            let mut holders: Vec<Resources> = Vec::new();
            for (asked, who, ends) in asked {
                if ends && !holders.is_empty() {
                    room.give_back(&holders.swap_remove(who.index(holders.len())));
                    room.reserve_nothing();
                }
                if room.take(&asked) {
                    holders.push(asked);
                }
                for (name, total) in totals.iter() {
                    let sum: f64 = holders.iter().filter_map(|held| held.get(name)).sum();
                    prop_assert!(sum <= total + 1e-9, "{sum} of {total} {name}");
                }
            }
            for held in &holders {
                room.give_back(held);
            }
            room.reserve_nothing();
            prop_assert_eq!(room, Room::of(&totals));
        }
    }
}

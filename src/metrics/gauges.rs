//! The gauges of all policies at one moment.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map},
};

use crate::meter::{Metric, Whose};

/// What to set each gauge to.
#[derive(Debug, Default)]
pub(crate) struct Gauges(BTreeMap<Series, f64>);

/// One gauge with its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(super) metric: Metric,
    pub(super) policy: &'static str,
    pub(super) name: String,
    pub(super) label: Option<(&'static str, Cow<'static, str>)>,
}

impl Series {
    fn new(metric: Metric, whose: Whose<'_>, label: Option<(&'static str, Cow<'static, str>)>) -> Self {
        Self { metric, policy: whose.policy, name: whose.name.as_str().to_owned(), label }
    }
}

impl Gauges {
    /// Adds to what others of the same name have.
    pub(crate) fn add(&mut self, metric: Metric, whose: Whose<'_>, value: u64) {
        *self.0.entry(Series::new(metric, whose, None)).or_default() += value as f64;
    }

    /// As [`add`](Self::add), with another label.
    pub(crate) fn add_labelled(
        &mut self,
        metric: Metric,
        whose: Whose<'_>,
        label: (&'static str, impl Into<Cow<'static, str>>),
        value: u64,
    ) {
        let series = Series::new(metric, whose, Some((label.0, label.1.into())));
        *self.0.entry(series).or_default() += value as f64;
    }

    /// Shows the lowest of those that have the same name.
    pub(crate) fn lowest(&mut self, metric: Metric, whose: Whose<'_>, value: f64) {
        let lowest = self.0.entry(Series::new(metric, whose, None)).or_insert(value);
        *lowest = lowest.min(value);
    }

    pub(super) fn has(&self, series: &Series) -> bool {
        self.0.contains_key(series)
    }
}

impl IntoIterator for Gauges {
    type Item = (Series, f64);
    type IntoIter = btree_map::IntoIter<Series, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

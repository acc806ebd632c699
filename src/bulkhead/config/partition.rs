//! Who is guaranteed what.

use crate::{
    config::{InvalidConfig, check},
    name::Name,
};

/// Everybody who leaves looks at all of them.
const PARTITIONS: usize = 64;

/// A tenant, and the part of the limit that is guaranteed to it.
///
/// A guaranteed part is not idle while its tenant is: it is lent to whoever has calls. As soon as its tenant is refused or
/// has to wait, what comes free is kept for it, and stays so for a second or two after it was used last. The limit of the
/// whole is never exceeded; so a tenant that wakes up gets its share as the calls of the borrowers end, and not before.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Partition {
    /// What [`partition_by`](crate::BulkheadLayer::partition_by) calls it. `"default"` is the one for all names that
    /// aren't listed; it is there in any case.
    pub name: Name,
    /// Its part of the limit, 0 to 1, rounded down to whole calls. All of them together at most 1. With 0 it only borrows.
    pub share: f64,
}

impl Partition {
    /// The name of the partition that is everybody's who has none of his own.
    pub const DEFAULT: &'static str = "default";

    /// A tenant and its part of the limit, 0 to 1.
    pub fn new(name: impl Into<Name>, share: f64) -> Self {
        Self { name: name.into(), share }
    }
}

pub(super) fn validate(partitions: &[Partition]) -> Result<(), InvalidConfig> {
    let setting = "bulkhead.partitions";
    check(setting, partitions.len(), ..=PARTITIONS, "at most 64 partitions")?;
    for (index, Partition { name, share }) in partitions.iter().enumerate() {
        if name.as_str().is_empty() {
            return Err(InvalidConfig::new(setting, "a partition's name must not be empty"));
        }
        if partitions[..index].iter().any(|other| other.name == *name) {
            return Err(InvalidConfig::new(setting, format!("{name} is there twice, and must be there once")));
        }
        if !(0.0..=1.0).contains(share) {
            let problem = format!("the share of {name}, {share}, is not between 0 and 1");
            return Err(InvalidConfig::new(setting, problem));
        }
    }
    let sum: f64 = partitions.iter().map(|partition| partition.share).sum();
    // Ten tenths are a little more than one.
    check(setting, sum, ..1.0 + 1e-9, "at most 1, which all shares together may be")
}

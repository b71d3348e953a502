//! An evaluation inside a training run that several ranks make together.

use std::collections::BTreeMap;
use std::sync::Arc;

use framewise_pipeline::graph::{ResolvedGraph, undivided};
use framewise_pipeline::prelude::*;

use crate::failure::link_failure;
use crate::ranks::{Channel, Ranks};

/// The linked ranks of which each measures a part of the records.
pub(super) struct Together {
    pub(super) ranks: Arc<Ranks>,
    channel: Channel,
}

impl Together {
    /// The ranks of this run, if they are linked and the records of `graph` can be divided among them. Otherwise each rank
    /// measures all of them, and comes to the same numbers.
    ///
    /// # Errors
    /// The stage cannot have a channel.
    pub(super) fn of(graph: &ResolvedGraph, context: &StageContext) -> Result<Option<Self>, Failure> {
        let Some(ranks) = context.resources.get::<Ranks>() else { return Ok(None) };
        let name = format!("{}/results", context.stage);
        let channel = ranks.channel(&name).map_err(|e| link_failure("the results of evaluations", &e))?;
        let Some(channel) = channel else { return Ok(None) };
        if let Some((stage, why)) = undivided(graph, &context.registry).into_iter().next() {
            let text = format!(
                "every rank measures all records, because of the evaluation's stage `{stage}`: {why}"
            );
            context.message(Level::Info, text);
            return Ok(None);
        }
        Ok(Some(Self { ranks, channel }))
    }

    /// The results of rank 0, which every rank goes on with.
    ///
    /// # Errors
    /// A rank is missed, or the ranks do not run the same program.
    pub(super) fn of_rank_0(&self, own: BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>, Failure> {
        let bytes = self.channel.broadcast(0, &to_bytes(&own));
        let bytes = bytes.map_err(|e| link_failure("sending the results of an evaluation", &e))?;
        if self.channel.rank() == 0 {
            return Ok(own);
        }
        from_bytes(&bytes).ok_or_else(|| Failure::internal("rank 0 sent results that cannot be read"))
    }
}

/// Results as bytes: for each its bits, the length of its name, and the name.
fn to_bytes(results: &BTreeMap<String, f64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in results {
        bytes.extend(value.to_bits().to_le_bytes());
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes
}

fn from_bytes(mut bytes: &[u8]) -> Option<BTreeMap<String, f64>> {
    let mut results = BTreeMap::new();
    while !bytes.is_empty() {
        let (value, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (name, rest) = rest.split_at_checked(length)?;
        results.insert(String::from_utf8(name.to_vec()).ok()?, f64::from_bits(u64::from_le_bytes(*value)));
        bytes = rest;
    }
    Some(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_every_bit() {
        let results = [("gap", 0.1 + 0.2), ("loss", f64::NAN), ("map", -0.0), ("videos", f64::MAX)];
        let results: BTreeMap<String, f64> = results.map(|(name, value)| (name.to_owned(), value)).into();
        let bytes = to_bytes(&results);
        let bits = |results: &BTreeMap<String, f64>| -> Vec<(String, u64)> {
            results.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect()
        };
        assert_eq!(bits(&from_bytes(&bytes).unwrap()), bits(&results));
        let cut = |cut: usize| from_bytes(&bytes[..cut]);
        assert!((1..bytes.len()).all(|end| cut(end).is_none_or(|some| some.len() < results.len())));
    }
}

//! What stages of a training run that several ranks make together have in common.

use std::sync::Arc;

use framewise_pipeline::{Failure, StageContext};

use crate::failure::link_failure;
use crate::ranks::{Channel, Ranks, Split};

/// The channel of a stage of a run in which every rank computes some of the shards of each step. `None` where this process
/// computes all of them.
///
/// # Errors
/// The stage cannot have a channel.
pub(crate) fn channel(context: &StageContext) -> Result<Option<Channel>, Failure> {
    let Some(ranks) = shards(context) else { return Ok(None) };
    ranks.channel(&context.stage).map_err(|e| link_failure(&format!("stage `{}`", context.stage), &e))
}

/// The ranks of a run that divides the shards.
pub(crate) fn shards(context: &StageContext) -> Option<Arc<Ranks>> {
    let ranks = context.resources.get::<Ranks>()?;
    matches!(ranks.split(), Split::Shards { .. }).then_some(ranks)
}

/// The number of this rank, that of all ranks, and the number of shards of a full step, where several ranks make each step.
pub(crate) fn of_shards(context: &StageContext) -> Option<(usize, usize, usize)> {
    let ranks = self::shards(context)?;
    let Split::Shards { shards, .. } = ranks.split() else { return None };
    (ranks.size() > 1).then(|| (ranks.rank(), ranks.size(), shards))
}

/// Whether this rank reads only the records of its own shards.
pub(crate) fn reads_own(context: &StageContext) -> bool {
    let is_own = |ranks: Arc<Ranks>| matches!(ranks.split(), Split::Shards { own_records: true, .. });
    shards(context).filter(|ranks| ranks.size() > 1).is_some_and(is_own)
}

/// The rank as messages name it, with its host.
pub(crate) fn named(context: &StageContext, rank: usize) -> String {
    context.resources.get::<Ranks>().map_or_else(|| format!("rank {rank}"), |ranks| ranks.named(rank))
}

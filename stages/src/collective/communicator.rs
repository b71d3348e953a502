//! The trait of what members do together, whatever carries the data between them.

use candle_core::Tensor;

use super::cut::Cut;
use super::error::CollectiveError;

/// The gradients of one shard, as a member gives them to a sum.
#[derive(Clone, Debug)]
pub struct ShardTensors {
    /// The shard's index in the step, over all members.
    pub shard: usize,
    /// The factor of the shard's gradients in the sum.
    pub weight: f64,
    /// One tensor for each tensor of the cut, contiguous and of the same shape.
    pub tensors: Vec<Tensor>,
}

/// One member's end of a group whose members compute the same step, each on a device of its own.
///
/// Every operation is collective: each member calls it, and all call the same operations in the same order. An operation
/// waits for the other members, at most as long as the time limit of the group. A member that fails between two
/// operations says so with [`Communicator::leave`], so that the others need not wait for it.
///
/// # Errors
/// Every operation fails with [`CollectiveError::Missing`] if members have not come within the time limit, with
/// [`CollectiveError::Left`] if one has failed, with [`CollectiveError::Mismatch`] if one calls another operation, and
/// with [`CollectiveError::Tensor`] if the tensors do not fit or a device fails. Each names the members.
pub trait Communicator: Send + Sync {
    /// This member's number, from 0.
    fn rank(&self) -> usize;

    /// The number of members.
    fn size(&self) -> usize;

    /// Adds the weighted tensors of all shards of all members in the order of the shards, and returns this member's slice
    /// of the sum on its device, with one tensor for each span. A member may hold any number of shards, also none.
    fn reduce_scatter_in_order(
        &self,
        cut: &Cut,
        shards: &[ShardTensors],
    ) -> Result<Vec<Tensor>, CollectiveError>;

    /// Completes a set of whole tensors. When a member calls this, its own slice of its `replica` is new. When the call
    /// returns, the slices of all members are. Members may share one replica, of which nothing is copied then. Otherwise
    /// the other slices are written in place, and nobody else may use the replica meanwhile.
    fn all_gather(&self, cut: &Cut, replica: &[Tensor]) -> Result<(), CollectiveError>;

    /// Returns the tensors that member `root` gives, on this member's device. What the other members give is not looked
    /// at.
    fn broadcast(&self, root: usize, tensors: &[Tensor]) -> Result<Vec<Tensor>, CollectiveError>;

    /// Returns when every member has called it.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Returns the numbers of all members, in the order of their ranks, so that all members decide alike. It is for few
    /// numbers. Members may give different counts of them.
    fn agree(&self, numbers: &[f64]) -> Result<Vec<f64>, CollectiveError>;

    /// Says that this member will not call any further operation. The others fail at once, in place of waiting.
    fn leave(&self);

    /// The bytes of tensors so far that this member has taken from other members, whether they were copied or, in shared
    /// memory, read where they lie. The numbers of [`Communicator::agree`] are not counted.
    fn received(&self) -> u64;
}

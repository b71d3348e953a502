//! Gradients of parameters that bypass candle's tape.
//!
//! candle's own backward pass starts every gradient as a tensor of zeros and adds to it. For a matrix of 300 MB these
//! are three passes over memory for nothing. Nodes with hand-written gradients therefore *deposit* those of parameters
//! here, and whoever walks the tape collects them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

thread_local! {
    /// The deposits of the backward pass that runs on this thread, by parameter. It is `None` while no such pass runs.
    static DEPOSITS: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Opens the deposits of this thread, and closes them whatever happens.
struct Session;

impl Session {
    fn open() -> Self {
        DEPOSITS.with_borrow_mut(|deposits| *deposits = Some(HashMap::new()));
        Self
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        DEPOSITS.with_borrow_mut(|deposits| *deposits = None);
    }
}

/// Hands the gradient of a parameter over to the [`collect`] that runs on this thread. Several deposits for one
/// parameter add up, in the order of the tape, which is fixed.
pub(crate) fn deposit(parameter: &Tensor, gradient: Tensor) -> Result<()> {
    DEPOSITS.with_borrow_mut(|deposits| {
        let Some(deposits) = deposits else {
            candle_core::bail!(
                "the tape of this model is walked by model::backward, not by Tensor::backward"
            );
        };
        match deposits.entry(parameter.id()) {
            Entry::Vacant(entry) => {
                entry.insert(gradient);
            }
            Entry::Occupied(mut entry) => {
                let sum = entry.get().add(&gradient)?;
                entry.insert(sum);
            }
        }
        Ok(())
    })
}

/// The gradients that were deposited during one walk of a tape.
pub(crate) struct Deposits(HashMap<TensorId, Tensor>);

impl Deposits {
    /// Takes out the gradient of `parameter`, if there is one.
    pub(crate) fn remove(&mut self, parameter: &Tensor) -> Option<Tensor> {
        self.0.remove(&parameter.id())
    }
}

/// Runs `walk`, which walks a tape on this thread, and returns its gradients together with the deposited ones.
pub(crate) fn collect(walk: impl FnOnce() -> Result<GradStore>) -> Result<(GradStore, Deposits)> {
    let session = Session::open();
    let taped = walk()?;
    let deposits = DEPOSITS.with_borrow_mut(|deposits| deposits.take()).unwrap_or_default();
    drop(session);
    Ok((taped, Deposits(deposits)))
}

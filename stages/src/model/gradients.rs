//! From a loss to the gradients of the parameters. The one law: gradients come in parameter order, one per parameter,
//! and are the same bits however many threads computed them.
//!
//! candle's own backward pass starts every gradient as a tensor of zeros and adds to it. For a matrix of 300 MB that is
//! three passes over memory for nothing. Nodes with hand-written gradients therefore *deposit* those of parameters here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{Result, Tensor, TensorId};

use super::Weights;

/// Gradients of a loss, one per parameter in the order of [`super::Model::parameters`], without tape.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Each of the shape and type of its parameter.
    pub tensors: Vec<Tensor>,
}

thread_local! {
    /// Deposits of the backward pass that runs on this thread, by parameter; `None` when none runs.
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

/// Hands the gradient of a parameter over to the running [`backward`]. Several deposits for one parameter add up, in
/// the order of the tape, which is fixed.
pub(super) fn deposit(parameter: &Tensor, gradient: Tensor) -> Result<()> {
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

/// Gradients of the scalar `loss` for every parameter of `weights`; zeros for one on which it does not depend.
pub fn backward(loss: &Tensor, weights: &Weights) -> Result<Gradients> {
    let session = Session::open();
    let mut taped = loss.backward()?;
    let mut deposits = DEPOSITS.with_borrow_mut(|deposits| deposits.take()).unwrap_or_default();
    drop(session);
    let tensors = weights
        .parameters
        .iter()
        .map(|parameter| match (deposits.remove(&parameter.id()), taped.remove(parameter)) {
            (Some(one), None) | (None, Some(one)) => one.detach().contiguous(),
            (Some(deposit), Some(taped)) => deposit.add(&taped)?.detach().contiguous(),
            (None, None) => parameter.zeros_like(),
        })
        .collect::<Result<_>>()?;
    Ok(Gradients { tensors })
}

//! The device under test, and the laws of devices: what one thread made another may use, and placement never changes a
//! byte.
//!
//! `FRAMEWISE_DEVICE` names the device, such as `cuda:0`; without it the tests run on the CPU. `scripts/gpu-check` sets
//! it on a machine with a card, so that the tests that pass in the gate are those that the card is held to.

mod places;
mod threads;

use std::sync::OnceLock;

use candle_core::Device;

/// The name of the device under test.
pub(crate) fn name() -> String {
    std::env::var("FRAMEWISE_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

/// The device under test. It is opened once and shared by all tests, whose threads differ.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open =
        || framewise_stages::device::open(&[name()]).unwrap_or_else(|failure| panic!("{failure}")).remove(0);
    DEVICE.get_or_init(open).clone()
}

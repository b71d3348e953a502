//! The devices that stages compute on, by their names: `cpu`, `cuda:0`.
//!
//! Law: a device that a graph names is used, or the run ends with exit code 69. Nothing falls back silently.

pub(crate) mod per_device;

use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use framewise_pipeline::{ErrorKind, Failure, Keys, Remark, Survey};

/// The key `devices`, which places a stage's work.
#[derive(Keys)]
pub struct Devices {
    /// Where the work is done: `cpu` or `cuda:N`, one entry per device. Shards are spread over them in contiguous parts;
    /// `all_reduce` and `optimizer`, which need the same list, spread slices of the parameters. Devices only place the
    /// work: results do not depend on how many there are. `cuda` needs a build with the feature of that name.
    #[key(name = "devices", default = ["cpu"], free)]
    names: Vec<String>,
}

impl Devices {
    /// Everything that is wrong with the names, as (key, message).
    pub fn check(&self) -> Vec<(&'static str, String)> {
        if self.names.is_empty() {
            return vec![("devices", "at least one device is needed, such as \"cpu\"".into())];
        }
        self.names.iter().filter_map(|name| parse(name).err()).map(|e| ("devices", e)).collect()
    }

    /// The names, in the order given.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a device other than the CPU is named.
    pub fn need_a_gpu(&self) -> bool {
        self.names.iter().any(|name| name != "cpu")
    }

    /// Looks whether the devices are there, for the survey of a stage.
    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        let (cuda, rest): (Vec<_>, Vec<_>) = self
            .names
            .iter()
            .enumerate()
            .partition(|(_, name)| !cfg!(feature = "cuda") && matches!(parse(name), Ok(Name::Cuda(_))));
        if let Some((first, _)) = cuda.first() {
            // One reason serves for all of them.
            let names = cuda.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>();
            let remark = Remark::error("devices", without_cuda(&names)).of_kind(ErrorKind::Unavailable);
            survey.remarks.push(remark.at_entry(*first).hint(CUDA_ADVICE));
        }
        let mut looked_at = Vec::new();
        for (index, name) in rest {
            if looked_at.contains(&name) {
                continue;
            }
            looked_at.push(name);
            if let Err(failure) = open(&[name]) {
                survey.remarks.push(Remark::failure("devices", &failure).at_entry(index));
            }
        }
        survey
    }

    /// Opens every device, in the order given.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&self) -> Result<Vec<Device>, Failure> {
        open(&self.names)
    }

    /// Opens every device, in the order given, each with its name.
    ///
    /// # Errors
    /// As [`open`]; `Config` without a name, which [`Devices::check`] refuses.
    pub fn open_named(&self) -> Result<Vec<(String, Device)>, Failure> {
        if self.names.is_empty() {
            return Err(Failure::config("`devices` names no device"));
        }
        Ok(self.names.iter().cloned().zip(self.open()?).collect())
    }
}

/// Opens every device, in the order given. A device that is named twice is opened once and shared.
///
/// # Errors
/// `Unavailable` (exit code 69) when a device cannot be used. `Config` when a name is not the name of a device.
pub fn open(names: &[impl AsRef<str>]) -> Result<Vec<Device>, Failure> {
    let mut opened: Vec<(Name, Device)> = Vec::new();
    let mut devices = Vec::with_capacity(names.len());
    for text in names {
        let name = parse(text.as_ref()).map_err(Failure::config)?;
        let device = match opened.iter().find(|(n, _)| *n == name) {
            Some((_, device)) => device.clone(),
            None => {
                let device = open_one(name)?;
                opened.push((name, device.clone()));
                device
            }
        };
        devices.push(device);
    }
    Ok(devices)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Cpu,
    Cuda(usize),
}

fn parse(text: &str) -> Result<Name, String> {
    if text == "cpu" {
        return Ok(Name::Cpu);
    }
    let ordinal = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
    ordinal.map(Name::Cuda).ok_or_else(|| format!("`{text}` is not a device; write \"cpu\" or \"cuda:0\""))
}

fn open_one(name: Name) -> Result<Device, Failure> {
    match name {
        Name::Cpu => Ok(Device::Cpu),
        Name::Cuda(ordinal) if cfg!(feature = "cuda") => open_cuda(ordinal).map_err(|e| {
            Failure::new(ErrorKind::Unavailable, format!("device `cuda:{ordinal}` is not available: {e}"))
        }),
        Name::Cuda(ordinal) => {
            let why = without_cuda(&[&format!("cuda:{ordinal}")]);
            Err(Failure::new(ErrorKind::Unavailable, format!("{why}; {CUDA_ADVICE}")))
        }
    }
}

/// The GPU `ordinal`. It is opened once in a process, with a stream of its own, and shared by all stages: tensors pass from
/// stage to stage without a copy, and whatever one stage does with a tensor comes behind what another one did.
fn open_cuda(ordinal: usize) -> candle_core::Result<Device> {
    static OPENED: Mutex<Vec<(usize, Device)>> = Mutex::new(Vec::new());
    // A thread that panicked left a list that is whole.
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(known, _)| *known == ordinal) {
        return Ok(device.clone());
    }
    let device = Device::new_cuda_with_stream(ordinal)?;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = &device {
        // By default, cudarc records an event for each use of each slice, so that another stream can wait for it.
        // SAFETY: this is the only stream of the card in this process, because every stage gets the device from this list, and
        // nothing else makes one. Allocations, copies, kernels and releases are in the order of that stream.
        unsafe { cuda.disable_event_tracking() };
    }
    opened.push((ordinal, device.clone()));
    Ok(device)
}

/// What to do where a build without CUDA is to use a GPU.
const CUDA_ADVICE: &str = "build it with `cargo build --release --features cuda`, or set devices = [\"cpu\"]";

/// Why a build without CUDA cannot open these devices.
fn without_cuda(names: &[&str]) -> String {
    let what = match names {
        [first @ .., last] if !first.is_empty() => {
            format!("devices `{}` and `{last}` are", first.join("`, `"))
        }
        names => format!("device `{}` is", names.concat()),
    };
    format!("{what} not available: this binary was built without CUDA")
}

/// The index of the device that computes shard `shard` of `shards`. Each device gets a contiguous part of the shards,
/// and the parts are as even as can be.
pub fn place(shard: usize, shards: usize, devices: usize) -> usize {
    shard * devices / shards.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_placed_in_contiguous_even_parts() {
        let places = |shards, devices| (0..shards).map(|s| place(s, shards, devices)).collect::<Vec<_>>();
        assert_eq!(places(4, 1), [0, 0, 0, 0]);
        assert_eq!(places(4, 2), [0, 0, 1, 1]);
        assert_eq!(places(4, 4), [0, 1, 2, 3]);
        assert_eq!(places(2, 4), [0, 2]);
    }

    #[test]
    fn names_are_parsed_strictly() {
        assert_eq!(parse("cpu"), Ok(Name::Cpu));
        assert_eq!(parse("cuda:3"), Ok(Name::Cuda(3)));
        for wrong in ["gpu", "cuda", "cuda:", "cuda:x", "CPU", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_the_feature_is_unavailable_and_names_it() {
        let failure = open(&["cpu", "cuda:0"]).unwrap_err();
        assert_eq!(failure.kind.exit_code(), 69);
        assert!(failure.to_string().contains("--features cuda"));
    }
}

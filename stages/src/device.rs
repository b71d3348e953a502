//! Devices by name: `cpu`, `cuda:0`.
//!
//! Law: a device that is named is used or the run ends with exit code 69; nothing falls back silently.

use candle_core::Device;
use framewise_pipeline::{ErrorKind, Failure, KeyKind, KeySpec, Settings};
use toml::Value;

/// The key that places a stage's work.
pub fn devices_key() -> KeySpec {
    KeySpec::new(
        "devices",
        KeyKind::Texts,
        "Where the shards are computed: `cpu` or `cuda:N`, one entry per device; shards are spread over them in \
         contiguous parts. Devices only place the work: results do not depend on how many there are. `cuda` needs a \
         build with the feature of that name.",
    )
    .default(Value::Array(vec![Value::from("cpu")]))
    .free()
}

/// What is wrong with the names in `devices`, for `check`.
pub fn check_devices(settings: &Settings) -> Vec<(&'static str, String)> {
    let names = names(settings);
    if names.is_empty() {
        return vec![("devices", "at least one device is needed, such as \"cpu\"".into())];
    }
    names.iter().filter_map(|name| parse(name).err()).map(|e| ("devices", e)).collect()
}

/// The names as written.
pub fn names(settings: &Settings) -> Vec<&str> {
    let list = settings.get("devices").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Opens every device, in the order given. A name given twice is opened once and shared.
///
/// # Errors
/// `Unavailable` (exit code 69) when one cannot be used; `Config` for a name that is none.
pub fn open(names: &[&str]) -> Result<Vec<Device>, Failure> {
    let mut opened: Vec<(Name, Device)> = Vec::new();
    let mut devices = Vec::with_capacity(names.len());
    for text in names {
        let name = parse(text).map_err(Failure::config)?;
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
        Name::Cuda(ordinal) if cfg!(feature = "cuda") => {
            // A stream of its own, so that the device can be cloned across the threads of several stages.
            Device::new_cuda_with_stream(ordinal).map_err(|e| {
                Failure::new(ErrorKind::Unavailable, format!("device `cuda:{ordinal}` is not available: {e}"))
            })
        }
        Name::Cuda(ordinal) => Err(Failure::new(
            ErrorKind::Unavailable,
            format!(
                "device `cuda:{ordinal}` is not available: this binary was built without CUDA. Build it with \
                 `cargo build --release --features cuda`, or set devices = [\"cpu\"]"
            ),
        )),
    }
}

/// The device of shard `shard` of `shards`: contiguous parts, as even as can be.
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

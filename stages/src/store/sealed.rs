//! Sealed files: JSON files that carry their own checksum as the last key.
//!
//! Law: any changed byte is found, also in white space and in values that would still parse.
//!
//! The file is an object in serde_json's pretty form. Its last line before `}` is `"crc32c": "xxxxxxxx"`, the CRC-32C
//! of every byte before the comma in front of that key.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;

const SEAL_HEAD: &str = ",\n  \"crc32c\": \"";
const SEAL_TAIL: &str = "\"\n}\n";
const CLOSE: &str = "\n}";

/// The bytes of the file for a value that serialises as an object. The object has at least one key, and no key
/// `crc32c`.
pub(super) fn seal(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, StoreError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| StoreError::format(path, e.to_string()))?;
    let body = text.strip_suffix(CLOSE).ok_or_else(|| StoreError::format(path, "not an object with keys"))?;
    let crc = crc32c::crc32c(body.as_bytes());
    Ok(format!("{body}{SEAL_HEAD}{crc:08x}{SEAL_TAIL}").into_bytes())
}

/// The value of a sealed file, or an error that says how the file is damaged. `path` is for the message.
pub(super) fn open<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T, StoreError> {
    let damaged = |why: &str| StoreError::damaged(path, why);
    let length = SEAL_HEAD.len() + 8 + SEAL_TAIL.len();
    let body_length = bytes.len().checked_sub(length).ok_or_else(|| damaged("cut off"))?;
    let (body, seal) = bytes.split_at(body_length);
    let crc = crc32c::crc32c(body);
    if seal != format!("{SEAL_HEAD}{crc:08x}{SEAL_TAIL}").as_bytes() {
        return Err(damaged("its bytes do not match the checksum at its end"));
    }
    let whole = [body, CLOSE.as_bytes()].concat();
    serde_json::from_slice(&whole).map_err(|e| StoreError::format(path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let path = Path::new("folder/x.json");
        let value = serde_json::json!({"a": [1, 2.5], "b": {"c": "text"}});
        let bytes = seal(&value, path).unwrap();
        assert_eq!(open::<serde_json::Value>(&bytes, path).unwrap(), value);
        let plain: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(plain["a"], value["a"]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let error = open::<serde_json::Value>(&changed, path).unwrap_err();
                assert!(matches!(error, StoreError::Damaged { ref file, .. } if file == "x.json"), "{error}");
            }
            assert!(open::<serde_json::Value>(&bytes[..at], path).is_err());
        }
        assert!(open::<serde_json::Value>(&[bytes, b"\n".to_vec()].concat(), path).is_err());
    }
}

//! Law: a file of records is read whatever its compression. The content tells the compression, and the name does not.

use std::io::Write;

use serde_json::Value;

use crate::support::cli::{Desk, copy_graph};
use crate::support::records::{Records, pack, pack_zstd};

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_packing_holds_the_same_records() {
    let desk = Desk::new();
    let plain = Records::frame_level(9).bytes();
    let copy = |name: &str, bytes: &[u8]| {
        std::fs::write(desk.path(name), bytes).unwrap();
        desk.write("copy.toml", &copy_graph(name, 16, 4, 10));
        desk.framewise(&["run", "copy.toml", "--run-dir", &format!("run-{name}")]).expect(0);
        std::fs::read(desk.path(&format!("run-{name}/copy.tfrecord"))).unwrap()
    };
    let expected = copy("plain", &plain);
    assert!(!expected.is_empty());
    for (name, packed) in [("gzip", pack(&plain)), ("zlib", zlib(&plain)), ("zstd", pack_zstd(&plain))] {
        assert!(packed.len() < plain.len());
        assert_eq!(copy(name, &packed), expected, "{name}");
        let said = desk.framewise(&["inspect", "--verify", name]).expect(0);
        assert!(said.out.contains(&format!("packing       {name}\n")), "{}", said.out);
        let said = desk.framewise(&["inspect", "--format", "json", name]).expect(0);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(told["files"][0]["packing"], name);
        assert_eq!(told["files"][0]["records"], 9);
    }
    let said = desk.framewise(&["inspect", "--format", "json", "plain"]).expect(0);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert!(told["files"][0]["packing"].is_null(), "{}", said.out);
}

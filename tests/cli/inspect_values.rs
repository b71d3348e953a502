//! Laws: `inspect` gives programs each value in its own type. What concerns several files is reported for all of them.

use serde_json::{Value, json};

use crate::support::cli::{Desk, data, graph};
use crate::support::records::Records;

fn inspected(desk: &Desk, args: &[&str], code: i32) -> Value {
    let said = desk.framewise(&[&["inspect", "--format", "json"], args].concat()).expect(code);
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn the_same_id_in_two_files_is_counted() {
    let desk = Desk::new();
    let first = Records::frame_level(5).write(&desk.path("a.tfrecord"));
    // The last two ids of the first file come again, and one id of this file comes twice.
    let ids = |video: usize| ["video-4", "x", "video-3", "x"][video].to_owned();
    let second = Records::frame_level(4).ids(ids).gzip().write(&desk.path("b.tfrecord"));
    let said = desk.framewise(&["inspect", "--verify", &first, &second]).expect(0);
    let lines = [
        "3 records have an id that an earlier record has:".to_owned(),
        format!("  id \"video-4\": {first} record 4, {second} record 0"),
        format!("  id \"video-3\": {first} record 3, {second} record 2"),
        format!("  id \"x\": {second} record 1, {second} record 3"),
    ];
    assert!(said.out.contains(&lines.join("\n")), "{}", said.out);
    let told = inspected(&desk, &["--verify", &first, &second], 0);
    assert_eq!(told["duplicate_ids"]["records"], 3);
    let place = |path: &str, record: u64| json!({"path": path, "record": record});
    let expected = json!({"id": "video-4", "first": place(&first, 4), "again": place(&second, 0)});
    assert_eq!(told["duplicate_ids"]["listed"][0], expected);
    // There are no duplicates in one case, and the ids were not compared in the other.
    let told = inspected(&desk, &["--verify", &first], 0);
    assert_eq!(told["duplicate_ids"], json!({"records": 0, "listed": []}));
    assert!(inspected(&desk, &[&first, &second], 0)["duplicate_ids"].is_null());
}

#[test]
fn facts_have_the_type_of_what_they_tell() {
    let desk = Desk::new();
    desk.framewise(&[
        "run",
        &graph("quickstart.toml"),
        "--run-dir",
        "run",
        "--set",
        "stages.videos.epochs=1",
        "--set",
        "stages.evaluate.every_epochs=1",
    ])
    .expect(0);
    let told = inspected(&desk, &["run"], 0);
    let facts = &told["files"][0]["facts"];
    assert_eq!((&facts["step"], &facts["seed"], &facts["samples"]), (&json!(9), &json!(1000), &json!(270)));
    assert!(facts["size"].is_u64() && facts["parameters"].is_u64() && facts["moments"].is_u64(), "{facts:#}");
    let metrics = facts["metrics"].as_object().unwrap();
    assert!(!metrics.is_empty() && metrics.values().all(Value::is_number), "{facts:#}");
    let source = json!([{
        "stage": "videos",
        "files": 1,
        "bytes": std::fs::metadata(data("japanese_vowels/train.tfrecord")).unwrap().len(),
    }]);
    assert_eq!(facts["source"], source);
    desk.write("data.toml", "rgb_size = 12\nclasses = 9\n");
    let told = inspected(&desk, &["data.toml"], 0);
    assert_eq!(told["files"][0]["facts"], json!({"keys": {"rgb_size": 12, "classes": 9}}));
    let told = inspected(&desk, &[&graph("quickstart.toml")], 0);
    let facts = &told["files"][0]["facts"];
    assert!(facts["stages"].is_u64() && facts["edges"].is_u64(), "{facts:#}");
    assert!(facts["parameters"][0]["trainable"].is_u64(), "{facts:#}");
    // This file holds arrays of another program.
    let told = inspected(&desk, &[&data("import/arrays.npz")], 0);
    assert!(told["files"][0]["facts"]["elements"].is_u64());
}

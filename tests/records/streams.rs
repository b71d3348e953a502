//! Law: a named pipe as input is read once. It is refused where it would have to be read again.

use std::sync::Arc;

use framewise_pipeline::ErrorKind;

use crate::support::cli::{Desk, copy_graph};
use crate::support::files::make_pipe;
use crate::support::records::{Records, pack};
use crate::support::resume::Bench;

#[test]
fn a_pipe_is_read_once() {
    let desk = Desk::new();
    let plain = Records::frame_level(8).bytes();
    let copied = |name: &str, bytes: Vec<u8>, as_pipe: bool| {
        let path = desk.path(name);
        desk.write("copy.toml", &copy_graph(name, 16, 4, 10));
        let writer = as_pipe.then(|| {
            make_pipe(&path);
            let (path, bytes) = (path.clone(), bytes.clone());
            // Opening the pipe waits for its reader.
            std::thread::spawn(move || std::fs::write(path, bytes))
        });
        if !as_pipe {
            std::fs::write(&path, bytes).unwrap();
        }
        desk.framewise(&["run", "copy.toml", "--run-dir", &format!("run-{name}")]).expect(0);
        if let Some(writer) = writer {
            writer.join().unwrap().unwrap();
        }
        std::fs::read(desk.path(&format!("run-{name}/copy.tfrecord"))).unwrap()
    };
    let expected = copied("file", plain.clone(), false);
    assert!(!expected.is_empty());
    assert_eq!(copied("pipe", plain.clone(), true), expected);
    assert_eq!(copied("packed", pack(&plain), true), expected);
}

#[test]
fn what_would_read_a_pipe_again_is_refused_at_once() {
    let desk = Desk::new();
    make_pipe(&desk.path("pipe"));
    desk.write("copy.toml", &copy_graph("pipe", 16, 4, 10));
    // Nobody writes to the pipe, so a run that opened it would wait.
    let said = desk.framewise(&["run", "copy.toml", "--set", "stages.videos.epochs=2"]).expect(78);
    assert!(
        said.err.contains("is a stream") && said.err.contains("set `epochs = 1` in place of 2"),
        "{}",
        said.err
    );
    let said = desk.framewise(&["inspect", "pipe"]).expect(65);
    assert!(said.err.contains("pipe: a stream (a pipe or a device)"), "{}", said.err);
}

#[test]
fn a_run_does_not_go_on_from_a_pipe() {
    let bench = Bench::new(&["stages.videos.epochs=1"]);
    bench.start("run", &["stages.batch.max_batches=2"]);
    std::fs::remove_file(bench.file(1)).unwrap();
    make_pipe(&bench.file(1));
    let error = bench.attempt("run", true, &[], Arc::default()).unwrap_err();
    assert_eq!(error.failure.kind, ErrorKind::Config);
    let text = error.to_string();
    assert!(
        text.contains("train-1.tfrecord is a stream") && text.contains("cannot go on from its checkpoint"),
        "{text}"
    );
}

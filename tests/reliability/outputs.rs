//! Laws: what stands at the path of an output is never destroyed. Streams are written through, symbolic links are
//! followed to the file that is then replaced whole, and everything else that is not a file is refused with exit code
//! 73, before anything runs and with nothing changed.
//!
//! All paths lie in a directory of the test's own. Devices are reached by links from there, or are nodes made there.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::child::{end, send, start, wait_until};
use crate::support::cli::{Desk, SMALL, Said, graph, graph_text, names, paddle, vowels_graph};
use crate::support::files::make_pipe;
use crate::support::trained::trained;

/// Copies the bundled training set to `path`.
fn copy(desk: &Desk, path: &str, more: &[&str]) -> Said {
    let path = format!("stages.out.path={path}");
    desk.framewise(&[&["run", "-q", "copy.toml", "--run-dir", "run", "--set", &path], more].concat())
}

/// Makes a directory with the copying graph.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    desk
}

/// The bytes that the copying graph writes.
fn copied() -> Vec<u8> {
    let desk = desk();
    copy(&desk, "plain.tfrecord", &[]).expect(0);
    fs::read(desk.path("plain.tfrecord")).unwrap()
}

/// Reads a FIFO to its end, on another thread.
fn reading(path: &Path) -> JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    std::thread::spawn(move || fs::read(path).unwrap())
}

/// Makes a device node with these numbers. Returns `None` where the right to do so is missing, and prints that.
fn node(path: &Path, kind: &str, major: &str, minor: &str) -> Option<()> {
    let made = Command::new("mknod").arg(path).args([kind, major, minor]).output();
    if made.is_ok_and(|made| made.status.success()) && (kind == "b" || File::open(path).is_ok()) {
        return Some(());
    }
    let _ = fs::remove_file(path);
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    // This goes past the capture of the test's output.
    let line = format!("SKIPPED part of {name}: it needs the right to make device nodes\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

/// A prediction graph beside a trained run, with its two writers.
fn predicting() -> Desk {
    let desk = trained();
    desk.write("predict.toml", &graph_text("quickstart-predict.toml"));
    desk
}

fn predict(desk: &Desk, run: &str, csv: &str, jsonl: &str) -> Said {
    let (csv, jsonl) = (format!("stages.csv.path={csv}"), format!("stages.jsonl.path={jsonl}"));
    let weights = ["--set", "stages.weights.path=run"];
    let paths = ["--set", &csv, "--set", &jsonl];
    desk.framewise(&[&["run", "-q", "predict.toml", "--run-dir", run], &weights[..], &paths].concat())
}

#[test]
fn links_stay_and_the_files_behind_them_are_replaced() {
    let wanted = copied();
    let desk = desk();
    fs::create_dir(desk.path("data")).unwrap();
    desk.write("data/old", "of yesterday");
    symlink("data/old", desk.path("link")).unwrap();
    symlink("data/new", desk.path("dangling")).unwrap();
    symlink("link", desk.path("second")).unwrap();
    for (link, file) in [("link", "data/old"), ("dangling", "data/new"), ("second", "data/old")] {
        desk.write("data/old", "of yesterday");
        copy(&desk, link, &[]).expect(0);
        assert!(desk.path(link).symlink_metadata().unwrap().is_symlink(), "{link}");
        assert_eq!(fs::read(desk.path(file)).unwrap(), wanted, "{link}");
        fs::remove_dir_all(desk.path("run")).unwrap();
    }
    assert_eq!(names(&desk.path("data")), ["new", "old"]);
}

#[test]
fn predictions_follow_links_and_go_through_fifos() {
    let desk = predicting();
    predict(&desk, "plain", "a.csv", "a.jsonl").expect(0);
    let (csv, jsonl) = (fs::read(desk.path("a.csv")).unwrap(), fs::read(desk.path("a.jsonl")).unwrap());
    // The header and 370 utterances.
    assert_eq!(String::from_utf8(csv.clone()).unwrap().lines().count(), 371);

    fs::create_dir(desk.path("there")).unwrap();
    symlink("there/b.csv", desk.path("b.csv")).unwrap();
    symlink("there/b.jsonl", desk.path("b.jsonl")).unwrap();
    predict(&desk, "links", "b.csv", "b.jsonl").expect(0);
    assert_eq!(fs::read(desk.path("there/b.csv")).unwrap(), csv);
    assert_eq!(fs::read(desk.path("there/b.jsonl")).unwrap(), jsonl);

    make_pipe(&desk.path("c.csv"));
    make_pipe(&desk.path("c.jsonl"));
    let readers = [reading(&desk.path("c.csv")), reading(&desk.path("c.jsonl"))];
    predict(&desk, "fifos", "c.csv", "c.jsonl").expect(0);
    assert_eq!(readers.map(|reader| reader.join().unwrap()), [csv.clone(), jsonl]);
    for name in ["c.csv", "c.jsonl"] {
        assert!(desk.path(name).symlink_metadata().unwrap().file_type().is_fifo());
    }

    // One of the outputs is a stream, and the other is a file.
    let said = predict(&desk, "stdout", "-", "d.jsonl").expect(0);
    assert_eq!(said.out.as_bytes(), csv);
    assert!(said.err.contains("run directory    stdout"), "{}", said.err);
}

#[test]
fn records_go_through_a_fifo_plain_and_compressed() {
    let wanted = copied();
    let desk = desk();
    make_pipe(&desk.path("pipe"));
    symlink("pipe", desk.path("link")).unwrap();
    let reader = reading(&desk.path("pipe"));
    copy(&desk, "link", &[]).expect(0);
    assert!(reader.join().unwrap() == wanted);

    fs::remove_dir_all(desk.path("run")).unwrap();
    let reader = reading(&desk.path("pipe"));
    copy(&desk, "pipe", &["--set", "stages.out.gzip=true"]).expect(0);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&reader.join().unwrap()[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == wanted);
    assert!(desk.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn devices_are_written_through_and_stay() {
    let desk = desk();
    symlink("/dev/null", desk.path("null")).unwrap();
    symlink("/dev/full", desk.path("full")).unwrap();
    copy(&desk, "null", &[]).expect(0);
    fs::remove_dir_all(desk.path("run")).unwrap();
    let said = copy(&desk, "full", &[]).expect(73);
    assert!(said.err.contains("No space left on device") && said.err.contains("full"), "{}", said.err);
    for (link, device) in [("null", "/dev/null"), ("full", "/dev/full")] {
        assert_eq!(fs::read_link(desk.path(link)).unwrap(), Path::new(device));
        assert!(fs::metadata(device).unwrap().file_type().is_char_device());
    }
    fs::remove_dir_all(desk.path("run")).unwrap();
    // The node itself must stay. It was once replaced.
    if node(&desk.path("node"), "c", "1", "7").is_some() {
        copy(&desk, "node", &[]).expect(73);
        assert!(desk.path("node").symlink_metadata().unwrap().file_type().is_char_device());
    }
}

#[test]
fn what_is_no_file_is_refused_before_anything_runs() {
    let desk = desk();
    fs::create_dir(desk.path("directory")).unwrap();
    desk.write("directory/mine", "mine");
    desk.write("read-only", "mine");
    fs::set_permissions(desk.path("read-only"), fs::Permissions::from_mode(0o444)).unwrap();
    symlink("read-only", desk.path("to-read-only")).unwrap();
    symlink("circle", desk.path("circle")).unwrap();
    let _listener = UnixListener::bind(desk.path("socket")).unwrap();
    let mut cases = vec![
        ("directory", "a directory"),
        ("read-only", "read-only"),
        ("to-read-only", "read-only"),
        ("circle", "in a circle"),
        ("socket", "a socket"),
    ];
    // No driver has the numbers of this block device, so nothing can be lost behind it.
    if node(&desk.path("block"), "b", "250", "250").is_some() {
        cases.push(("block", "a block device"));
    }
    let before = names(&desk.path("."));
    for (path, why) in cases {
        let said = copy(&desk, path, &[]).expect(73);
        assert!(said.err.contains(why) && said.err.contains(path), "{path}: {}", said.err);
        assert!(said.err.contains("stage `out`"), "{path}: {}", said.err);
        assert_eq!(names(&desk.path(".")), before, "{path}");
    }
    assert_eq!(desk.read("read-only"), "mine");
    assert_eq!(names(&desk.path("directory")), ["mine"]);
    assert!(desk.path("socket").symlink_metadata().unwrap().file_type().is_socket());
}

#[test]
fn standard_output_carries_the_bytes_alone() {
    let wanted = copied();
    let desk = desk();
    for (path, run) in [("-", "a"), ("/dev/stdout", "b"), ("/dev/fd/1", "c")] {
        let path = format!("stages.out.path={path}");
        let child = start(&desk, &["run", "-q", "copy.toml", "--run-dir", run, "--set", &path]);
        let said = child.wait_with_output().unwrap();
        let errors = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(0), "{errors}");
        assert!(said.stdout == wanted, "{} bytes for {}", said.stdout.len(), wanted.len());
        // The result has gone to standard error.
        assert!(errors.contains(&format!("run directory    {run}")), "{errors}");
    }

    // A file behind standard output belongs to the shell, so nothing of it may be lost.
    let mut log = File::create(desk.path("log")).unwrap();
    log.write_all(b"before\n").unwrap();
    let mut command =
        desk.command(&["run", "-q", "copy.toml", "--run-dir", "d", "--set", "stages.out.path=/dev/stdout"]);
    assert!(command.stdout(log).stderr(Stdio::null()).status().unwrap().success());
    let log = fs::read(desk.path("log")).unwrap();
    assert!(log.starts_with(b"before\n") && log[7..] == wanted);

    let said = copy(&desk, "-", &["--format", "json"]).expect(64);
    assert!(said.err.contains("stage `out` writes to standard output"), "{}", said.err);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_with_74() {
    let desk = desk();
    make_pipe(&desk.path("pipe"));
    let opened = {
        let path = desk.path("pipe");
        std::thread::spawn(move || {
            let mut first = [0; 100];
            File::open(path).unwrap().read_exact(&mut first).unwrap();
        })
    };
    let said = copy(&desk, "pipe", &[]).expect(74);
    opened.join().unwrap();
    assert!(said.err.contains("pipe") && said.err.contains("its reader has gone away"), "{}", said.err);

    fs::remove_dir_all(desk.path("run")).unwrap();
    let mut child =
        start(&desk, &["run", "-q", "copy.toml", "--run-dir", "run", "--set", "stages.out.path=-"]);
    drop(child.stdout.take());
    let said = end(child).expect(74);
    assert!(said.err.contains("its reader has gone away"), "{}", said.err);
}

#[test]
fn waiting_for_the_reader_of_a_fifo_can_be_stopped() {
    let desk = desk();
    make_pipe(&desk.path("pipe"));
    let child = start(&desk, &["run", "copy.toml", "--run-dir", "run", "--set", "stages.out.path=pipe"]);
    wait_until("the run begun", || desk.path("run/graph.resolved.toml").exists());
    let before = Instant::now();
    send(&child, "-TERM");
    end(child).expect(130);
    assert!(before.elapsed() < Duration::from_secs(20));
    assert!(desk.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn shards_need_files() {
    let desk = desk();
    make_pipe(&desk.path("pipe"));
    for path in ["-", "pipe"] {
        let said = copy(&desk, path, &["--set", "stages.out.shards=2"]).expect(78);
        assert!(said.err.contains("several shards cannot be written to a stream"), "{}", said.err);
    }
    // A directory with the common name of the shards is not in the way.
    fs::create_dir(desk.path("out")).unwrap();
    copy(&desk, "out", &["--set", "stages.out.shards=2"]).expect(0);
    assert!(desk.path("out-00000-of-00002").is_file() && desk.path("out-00001-of-00002").is_file());
}

#[test]
fn a_run_directory_and_a_checkpoint_path_may_be_links_and_nothing_else() {
    let desk = desk();
    fs::create_dir(desk.path("there")).unwrap();
    symlink("there", desk.path("link")).unwrap();
    symlink("new", desk.path("dangling")).unwrap();
    make_pipe(&desk.path("pipe"));
    desk.write("file", "mine");
    for (link, directory) in [("link", "there"), ("dangling", "new")] {
        desk.framewise(&["run", "-q", "copy.toml", "--run-dir", link]).expect(0);
        assert!(desk.path(directory).join("copy.tfrecord").is_file());
        assert!(desk.path(link).symlink_metadata().unwrap().is_symlink());
    }
    for (path, why) in [("pipe", "a FIFO, not a directory"), ("file", "a file, not a directory")] {
        let said = desk.framewise(&["run", "-q", "copy.toml", "--run-dir", path]).expect(73);
        assert!(said.err.contains(why), "{}", said.err);
    }
    assert_eq!(desk.read("file"), "mine");

    let desk = trained();
    fs::create_dir(desk.path("kept")).unwrap();
    symlink("kept", desk.path("link")).unwrap();
    symlink("new", desk.path("dangling")).unwrap();
    desk.write("file", "mine");
    let train = |run: &str, path: &str| {
        let path = format!("stages.checkpoint.path={path}");
        let less = ["--set", "stages.videos.epochs=1", "--set", "stages.evaluate.every_epochs=0"];
        desk.framewise(
            &[&["run", "-q", &graph("quickstart.toml"), "--run-dir", run, "--set", &path], &less[..]]
                .concat(),
        )
    };
    for (link, directory) in [("link", "kept"), ("dangling", "new")] {
        train(link.repeat(2).as_str(), link).expect(0);
        assert!(desk.path(directory).join("step-00000009").is_dir(), "{link}");
        assert!(desk.path(link).symlink_metadata().unwrap().is_symlink());
    }
    let said = train("other", "file").expect(73);
    assert!(said.err.contains("a file, not a directory"), "{}", said.err);
    assert_eq!(desk.read("file"), "mine");
}

#[test]
fn imported_weights_follow_links_and_leave_what_is_no_file() {
    let desk = Desk::new();
    desk.write("model.toml", SMALL);
    let import = |to: &str| desk.framewise(&["import", &paddle(2), to, "--model", "model.toml"]);
    import("plain.safetensors").expect(0);
    let wanted = fs::read(desk.path("plain.safetensors")).unwrap();
    fs::create_dir(desk.path("there")).unwrap();
    symlink("there/weights", desk.path("link.safetensors")).unwrap();
    import("link.safetensors").expect(0);
    assert_eq!(fs::read(desk.path("there/weights")).unwrap(), wanted);
    assert!(desk.path("link.safetensors").symlink_metadata().unwrap().is_symlink());

    make_pipe(&desk.path("pipe.safetensors"));
    let reader = reading(&desk.path("pipe.safetensors"));
    import("pipe.safetensors").expect(0);
    assert_eq!(reader.join().unwrap(), wanted);

    desk.write("mine.safetensors", "mine");
    fs::set_permissions(desk.path("mine.safetensors"), fs::Permissions::from_mode(0o444)).unwrap();
    let said = import("mine.safetensors").expect(73);
    assert!(said.err.contains("read-only"), "{}", said.err);
    assert_eq!(desk.read("mine.safetensors"), "mine");
    let _listener = UnixListener::bind(desk.path("socket.safetensors")).unwrap();
    let said = import("socket.safetensors").expect(73);
    assert!(said.err.contains("a socket, not a file"), "{}", said.err);
}

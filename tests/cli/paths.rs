//! Laws: `check` and `run` report outputs that would overwrite each other, an input or the run's own files, and
//! addresses that this build does not open, with the places in the graph.

use std::fs;

use crate::support::cli::{Desk, data, graph_text, names, vowels_graph};

/// The copying graph with a second writer, whose path is `path`.
fn two_writers(path: &str) -> String {
    let writer = "[stages.also]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\n";
    format!("{}\n{writer}path = {path:?}\n", vowels_graph())
}

#[test]
fn two_writers_of_one_file_are_told_with_both_places() {
    let desk = Desk::new();
    for (path, shown) in
        [("copy.tfrecord", "copy.tfrecord"), ("./sub/../copy.tfrecord", "sub/../copy.tfrecord")]
    {
        let text = two_writers(path);
        desk.write("graph.toml", &text);
        let said = desk.framewise(&["check", "graph.toml"]).expect(78);
        let wanted = "`path` of stage `out` and `path` of stage `also` both write to";
        assert!(said.err.contains(wanted) && said.err.contains(shown), "{}", said.err);
        let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with("path = "));
        for (line, _) in lines {
            assert!(said.err.contains(&format!("{} │", line + 1)), "line {}\n{}", line + 1, said.err);
        }
        let said = desk.framewise(&["run", "-q", "graph.toml"]).expect(78);
        assert!(said.err.contains("both write to"), "{}", said.err);
        assert!(!desk.path("runs").exists());
    }
    desk.write("graph.toml", &two_writers("other.tfrecord"));
    desk.framewise(&["check", "graph.toml"]).expect(0);
    // On a terminal, the two would mix.
    desk.write("graph.toml", &two_writers("-"));
    let args = ["run", "-q", "graph.toml", "--set", "stages.out.path=-"];
    let said = desk.framewise(&args).expect(78);
    assert!(said.err.contains("both write to standard output"), "{}", said.err);
}

#[cfg(unix)]
#[test]
fn links_to_one_file_are_one_file() {
    use std::os::unix::fs::symlink;
    let desk = Desk::new();
    desk.write("kept.tfrecord", "");
    symlink("kept.tfrecord", desk.path("link.tfrecord")).unwrap();
    symlink("/dev/null", desk.path("null")).unwrap();
    let kept = desk.path("kept.tfrecord").display().to_string();
    desk.write("graph.toml", &two_writers(&kept));
    let set = |path: &str| format!("stages.out.path={path}");
    let said = desk.framewise(&["render", "graph.toml", "--set", &set("link.tfrecord")]).expect(78);
    assert!(said.err.contains("both write to") && said.err.contains("--set"), "{}", said.err);
    // Several stages may write to a device.
    desk.write("graph.toml", &two_writers(&desk.path("null").display().to_string()));
    desk.framewise(&["run", "-q", "graph.toml", "--set", &set("null")]).expect(0);
}

#[test]
fn an_input_is_not_overwritten_however_it_is_named() {
    let desk = Desk::new();
    fs::copy(data("japanese_vowels/train.tfrecord"), desk.path("input.tfrecord")).unwrap();
    let before = fs::read(desk.path("input.tfrecord")).unwrap();
    desk.write("list.txt", "input.tfrecord\n");
    let train = data("japanese_vowels/train.tfrecord");
    for (files, at_check) in [("input.tfrecord", true), ("*.tfrecord", false), ("@list.txt", false)] {
        let graph = vowels_graph().replace(&train, files);
        assert!(graph.contains(files));
        let output = desk.path("input.tfrecord").display().to_string();
        desk.write("graph.toml", &graph.replace("\"copy.tfrecord\"", &format!("{output:?}")));
        let said = desk.framewise(&["check", "graph.toml"]).expect(if at_check { 78 } else { 0 });
        assert_eq!(said.err.contains("would overwrite"), at_check, "{}", said.err);
        let said = desk.framewise(&["run", "-q", "graph.toml"]).expect(78);
        assert!(
            said.err.contains("input.tfrecord") && said.err.contains("`videos`"),
            "{files}: {}",
            said.err
        );
        assert!(said.err.contains("`out`"), "{files}: {}", said.err);
        assert_eq!(fs::read(desk.path("input.tfrecord")).unwrap(), before, "{files}");
    }
    // The list itself is an input too.
    let graph = vowels_graph().replace(&train, "@list.txt");
    let list = desk.path("list.txt").display().to_string();
    desk.write("graph.toml", &graph.replace("\"copy.tfrecord\"", &format!("{list:?}")));
    desk.framewise(&["check", "graph.toml"]).expect(78);
    assert_eq!(desk.read("list.txt"), "input.tfrecord\n");
}

#[test]
fn a_run_keeps_its_own_files() {
    let desk = Desk::new();
    let own = [
        "log.jsonl",
        "metrics.jsonl",
        "rejected.jsonl",
        "stages.json",
        "live.json",
        "graph.resolved.toml",
        ".lock",
    ];
    for name in own.into_iter().chain(["../run"]) {
        desk.write("graph.toml", &vowels_graph().replace("copy.tfrecord", name));
        let said = desk.framewise(&["run", "-q", "graph.toml", "--run-dir", "run"]).expect(78);
        assert!(said.err.contains("`path` of stage `out`"), "{name}: {}", said.err);
        assert!(!desk.path("run").exists(), "{name}");
    }
    // The directory of checkpoints does not belong to the run itself.
    let args = ["--set", "stages.checkpoint.path=run", "--run-dir", "run"];
    desk.write("train.toml", &graph_text("quickstart.toml"));
    let said = desk.framewise(&[&["run", "-q", "train.toml"], &args[..]].concat()).expect(78);
    assert!(said.err.contains("it is the run directory"), "{}", said.err);
    assert!(!desk.path("run").exists());
}

#[test]
fn a_directory_of_checkpoints_is_no_file_of_another_stage() {
    let desk = Desk::new();
    let ours = desk.path("ours").display().to_string();
    let writer = format!("\n[stages.csv]\ntype = \"csv_writer\"\nfrom = \"top_k\"\npath = {ours:?}\n");
    let top_k = "\n[stages.top_k]\ntype = \"top_k\"\nfrom = \"loss.predictions\"\nk = 3\n";
    desk.write("train.toml", &format!("{}{top_k}{writer}", graph_text("quickstart.toml")));
    desk.framewise(&["check", "train.toml"]).expect(0);
    let args = ["render", "train.toml", "--set", "stages.checkpoint.path=ours"];
    let said = desk.framewise(&args).expect(78);
    assert!(said.err.contains("`path` of stage `checkpoint`"), "{}", said.err);
    assert!(said.err.contains("`path` of stage `csv`"), "{}", said.err);
}

#[test]
fn an_address_says_that_this_build_does_not_open_it() {
    let desk = Desk::new();
    let train = data("japanese_vowels/train.tfrecord");
    for address in ["s3://bucket/a.tfrecord", "gs://bucket/*.tfrecord", "@https://host/list.txt"] {
        let text = vowels_graph().replace(&train, address);
        desk.write("graph.toml", &text);
        let said = desk.framewise(&["check", "graph.toml"]).expect(78);
        let scheme = address.trim_start_matches('@').split(':').next().unwrap();
        assert!(said.err.contains(&format!("does not open `{scheme}://` addresses")), "{}", said.err);
        let line = text.lines().position(|line| line.starts_with("files")).unwrap() + 1;
        assert!(said.err.contains(&format!("graph.toml:{line}:")), "{}", said.err);
        assert!(!said.err.contains("No such file"), "{}", said.err);
    }
    desk.write("graph.toml", &vowels_graph().replace("copy.tfrecord", "s3://bucket/out.tfrecord"));
    let said = desk.framewise(&["check", "graph.toml"]).expect(78);
    assert!(said.err.contains("`path` of stage `out`"), "{}", said.err);
    desk.write("predict.toml", &graph_text("quickstart-predict.toml"));
    let args = ["render", "predict.toml", "--set", "stages.weights.path=s3://bucket/w.safetensors"];
    let said = desk.framewise(&args).expect(78);
    assert!(said.err.contains("`path` of stage `weights`"), "{}", said.err);

    // A name that stands only in a list is found when the list is read.
    desk.write("list.txt", "\n# one\ns3://bucket/a.tfrecord\n");
    desk.write("graph.toml", &vowels_graph().replace(&train, "@list.txt"));
    let said = desk.framewise(&["run", "-q", "graph.toml"]).expect(66);
    assert!(said.err.contains("line 3 of") && said.err.contains("no `s3://` addresses"), "{}", said.err);
    for args in [&["inspect", "s3://bucket/a"][..], &["import", "s3://bucket/a.npz", "w.safetensors"]] {
        let said = desk.framewise(args).expect(66);
        assert!(said.err.contains("no `s3://` addresses"), "{}", said.err);
    }
    assert!(!desk.path("w.safetensors").exists());
}

#[test]
fn a_list_from_another_system_is_read() {
    let desk = Desk::new();
    for name in ["a b.tfrecord", "c.tfrecord"] {
        fs::copy(data("japanese_vowels/train.tfrecord"), desk.path(name)).unwrap();
    }
    fs::create_dir(desk.path("lists")).unwrap();
    let list = "\u{feff}# both\r\n\r\n~/a b.tfrecord\r\n../c*\r\n";
    desk.write("lists/all.txt", list);
    let train = data("japanese_vowels/train.tfrecord");
    desk.write("graph.toml", &vowels_graph().replace(&train, "@lists/all.txt"));
    let mut command = desk.command(&["run", "-q", "graph.toml", "--format", "json", "--run-dir", "run"]);
    let output = command.env("HOME", desk.path("")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["stages"][0]["items_out"], 540);

    desk.write("lists/all.txt", "../c.tfrecord\n../lists/../c.tfrecord\n");
    let said = desk.framewise(&["run", "-q", "graph.toml", "--run-dir", "twice"]).expect(66);
    assert!(said.err.contains("is named twice") && said.err.contains("line 2 of"), "{}", said.err);
    assert!(!names(&desk.path("")).contains(&"twice".to_owned()));
}

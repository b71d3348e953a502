//! Laws of `framewise export`: exported weights give the bits that the checkpoint gives in their precision, and are refused
//! where anything else is asked of them. The file appears whole, and replaces another on request only.
#![cfg(unix)]

use serde_json::Value;

use crate::support::cli::{Desk, graph};
use crate::support::trained::trained;

/// The results of the evaluation graph, and what it predicts.
fn evaluated(desk: &Desk, weights: &str, precision: &str) -> (Value, String) {
    let path = format!("stages.weights.path={}", desk.path(weights).display());
    let precision = format!("stages.forward.precision={precision}");
    let run_dir = desk.path("predicted").display().to_string();
    let args =
        [&graph("quickstart-predict.toml"), "--run-dir", &run_dir, "--set", &path, "--set", &precision];
    let (said, value) = desk.run_json(&args);
    said.expect(0);
    let predicted = desk.read("predicted/predictions.jsonl");
    std::fs::remove_dir_all(run_dir).unwrap();
    (value["results"].clone(), predicted)
}

fn export(desk: &Desk, from: &str, precision: &str, to: &str) {
    desk.framewise(&["export", from, "--precision", precision, "-o", to]).expect(0);
}

#[test]
fn exported_weights_give_the_numbers_of_the_checkpoint() {
    let desk = trained();
    for precision in ["int8", "int8x2"] {
        export(&desk, "run", precision, "narrow.safetensors");
        let (expected, predicted) = evaluated(&desk, "run", precision);
        assert_eq!(evaluated(&desk, "narrow.safetensors", precision), (expected, predicted), "{precision}");
        std::fs::remove_file(desk.path("narrow.safetensors")).unwrap();
    }
    // Weights in bf16 serve any precision. Those of the batch norms' statistics are not rounded.
    export(&desk, "run", "bf16", "rounded.safetensors");
    let gap =
        |weights: &str, precision: &str| evaluated(&desk, weights, precision).0["gap"].as_f64().unwrap();
    assert!((gap("rounded.safetensors", "f32") - gap("run", "f32")).abs() < 2e-3);
    assert!((gap("rounded.safetensors", "int8") - gap("run", "f32")).abs() < 2e-3);
    let inspected = desk.framewise(&["inspect", "rounded.safetensors"]).expect(0).out;
    assert!(inspected.contains("exported in bf16") && inspected.contains(" BF16 "), "{inspected}");
}

#[test]
fn the_file_is_small_and_tells_what_it_is() {
    let desk = trained();
    let sizes = ["int8", "int8x2"].map(|precision| {
        let said = desk.framewise(&["export", "run", "--precision", precision, "--format", "json"]).expect(0);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        // Without a name, the file lies in the working directory.
        let name = format!("run-{precision}.safetensors");
        assert_eq!((&told["to"], &told["precision"]), (&Value::from(name.as_str()), &Value::from(precision)));
        assert_eq!(
            (&told["source"]["step"], &told["model"]["name"]),
            (&Value::from(18), &Value::from("nextvlad"))
        );
        let bytes = std::fs::metadata(desk.path(&name)).unwrap().len();
        assert_eq!(told["bytes"], bytes);
        // Equal weights give equal bytes.
        export(&desk, "run/checkpoints/step-00000018", precision, "again.safetensors");
        assert_eq!(
            std::fs::read(desk.path(&name)).unwrap(),
            std::fs::read(desk.path("again.safetensors")).unwrap()
        );
        std::fs::remove_file(desk.path("again.safetensors")).unwrap();
        let inspected = desk.framewise(&["inspect", &name]).expect(0).out;
        for words in [&format!("exported in {precision}"), "hidden.weight", " I8 ", "step"] {
            assert!(inspected.contains(words), "{inspected}");
        }
        bytes
    });
    let full =
        std::fs::metadata(desk.path("run/checkpoints/step-00000018/weights.safetensors")).unwrap().len();
    // Headers and what stays in f32 take a part of so small a model.
    assert!(sizes[0] < full * 2 / 5 && sizes[1] < full * 3 / 5 && sizes[0] < sizes[1], "{sizes:?} of {full}");
}

#[test]
fn exported_weights_are_refused_where_anything_else_is_asked_of_them() {
    let desk = trained();
    export(&desk, "run", "int8", "narrow.safetensors");
    let path = desk.path("narrow.safetensors").display().to_string();
    let eval = graph("quickstart-eval.toml");
    let weights = format!("stages.weights.path={path}");
    let said = |args: &[&str], code: i32| desk.framewise(args).expect(code).err;
    for precision in ["f32", "bf16", "int8x2"] {
        let precision = format!("stages.forward.precision={precision}");
        // It is told before the run too, with the place of the key.
        for verb in [&["run"][..], &["check", "--inputs"]] {
            let err = said(&[verb, &[&eval, "--set", &weights, "--set", &precision]].concat(), 78);
            assert!(err.contains("exported for evaluation in int8: write precision = \"int8\""), "{err}");
            assert!(err.contains(&precision), "{err}");
        }
    }
    // What differs in evaluation is told by its key, before the run. What only training uses may differ.
    let checked = ["check", "--inputs", &eval, "--set", &weights, "--set", "stages.forward.precision=int8"];
    let dropped = ["--set", "stages.weights.drop_rate=0.25", "--set", "stages.forward.drop_rate=0.25"];
    let err = said(&[&checked[..], &dropped].concat(), 65);
    assert!(err.contains("drop_rate = 0.5 of the weights is not drop_rate = 0.25 of the graph"), "{err}");
    let momentum = ["--set", "stages.weights.norm_momentum=0.5", "--set", "stages.forward.norm_momentum=0.5"];
    desk.framewise(&[&checked[..], &momentum].concat()).expect(0);
    let start = format!("stages.optimizer.init_from={path}");
    let err = said(&["run", &graph("quickstart.toml"), "--set", &start], 65);
    assert!(err.contains("weights for evaluation in int8, from which no training starts"), "{err}");
    let err = said(&["export", "narrow.safetensors", "--precision", "int8x2", "--model", &small()], 65);
    assert!(err.contains("exported for int8 already: export from the checkpoint"), "{err}");
}

/// The path of the quickstart's model.
fn small() -> String {
    crate::support::run::root().join("configs/model/nextvlad-small.toml").display().to_string()
}

#[test]
fn nothing_is_replaced_unless_it_is_asked_for() {
    let desk = trained();
    let narrow = ["export", "run", "--precision", "int8", "-o", "w.safetensors"];
    desk.write("w.safetensors", "mine");
    let err = desk.framewise(&narrow).expect(73).err;
    assert!(
        err.contains("w.safetensors is there already: name another file by -o, or replace it by --force"),
        "{err}"
    );
    assert_eq!(desk.read("w.safetensors"), "mine");
    desk.framewise(&[&narrow[..], &["--force"]].concat()).expect(0);
    assert!(std::fs::metadata(desk.path("w.safetensors")).unwrap().len() > 1000);
}

#[test]
fn what_cannot_be_exported_is_told() {
    let desk = trained();
    let said = |args: &[&str], code: i32| desk.framewise(&[&["export"], args].concat()).expect(code).err;
    said(&["run"], 64);
    said(&["run", "--precision", "f32"], 64);
    let err = said(&["run", "--precision", "int8", "-o", "w.bin"], 64);
    assert!(err.contains("w.bin: the weights go to a file that is named *.safetensors"), "{err}");
    let err = said(&["nowhere", "--precision", "int8"], 66);
    assert!(err.contains("nowhere"), "{err}");
    let bare = "run/checkpoints/step-00000018/weights.safetensors";
    let err = said(&[bare, "--precision", "int8"], 78);
    assert!(
        err.contains("a weights file does not tell its model: name its configuration by --model"),
        "{err}"
    );
    let data = small().replace("model/nextvlad-small", "data/japanese-vowels");
    desk.framewise(&["export", bare, "--precision", "int8", "--model", &data, "--model", &small()]).expect(0);
    let err = said(&[bare, "--precision", "int8", "--model", &small(), "-o", "x.safetensors"], 65);
    assert!(err.contains("the tensors are not those of model `nextvlad`"), "{err}");
    // A file that was cut short is told for that.
    let good = desk.path("weights-int8.safetensors");
    let mut bytes = std::fs::read(&good).unwrap();
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&good, bytes).unwrap();
    let weights = format!("stages.weights.path={}", good.display());
    let args =
        ["run", &graph("quickstart-eval.toml"), "--set", &weights, "--set", "stages.forward.precision=int8"];
    assert!(desk.framewise(&args).expect(65).err.contains("is damaged"));
}

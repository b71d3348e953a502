//! Law of `init_from`: a run starts from the given weights, bit for bit. Only a classifier for another number of
//! classes is drawn anew.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{NextVlad, NextVladConfig, Weights};

use crate::support::cli::{Desk, data};
use crate::support::run::root;

const SEED: u64 = 77;

/// A graph of one step on the bundled data for `classes` classes, which writes a checkpoint. With a learning rate of 0
/// and running statistics that are kept, the weights in the checkpoint are those that the run began with.
fn graph(classes: usize, more: &str) -> String {
    let sizes = format!("rgb_size = 12\naudio_size = 12\nclasses = {classes}\n");
    let model = root().join("configs/model/nextvlad-small.toml");
    let videos = data("japanese_vowels/train.tfrecord");
    // Both stages that compute the model must agree on its keys.
    let of_both = more.lines().find(|line| line.starts_with("norm_momentum")).unwrap_or_default();
    format!(
        "[graph]\nseed = {SEED}\n\n[use]\nmodel = {model:?}\n\n\
         [stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [{videos:?}]\n\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\n{sizes}\n\
         [stages.batch]\ntype = \"batch\"\nfrom = \"decode\"\nsize = 8\nmax_batches = 1\n\n\
         [stages.shard]\ntype = \"shard\"\nfrom = \"batch\"\nshards = 1\n\n\
         [stages.forward]\ntype = \"nextvlad_forward\"\nfrom = {{ batches = \"shard\", weights = \"optimizer.weights\" }}\n\
         config = \"model\"\n{sizes}HIDDEN\n{of_both}\n\
         [stages.loss]\ntype = \"loss\"\nfrom = \"forward\"\n\n\
         [stages.backward]\ntype = \"backward\"\nfrom = \"loss.losses\"\n\n\
         [stages.all_reduce]\ntype = \"all_reduce\"\nfrom = \"backward\"\n\n\
         [stages.optimizer]\ntype = \"optimizer\"\nfrom = \"all_reduce\"\nconfig = \"model\"\n{sizes}HIDDEN\n{more}\n\n\
         [stages.checkpoint]\ntype = \"checkpoint\"\nfrom = \"optimizer.states\"\n",
        model = model.display().to_string(),
    )
}

fn still(init_from: &str) -> String {
    format!("learning_rate = 0.0\nnorm_momentum = 1.0\ninit_from = {init_from:?}\n")
}

fn tensors(run_dir: &Path) -> HashMap<String, Tensor> {
    let newest = framewise_stages::store::find(run_dir).unwrap().path;
    candle_core::safetensors::load(newest.join("weights.safetensors"), &Device::Cpu).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Makes a run of one real step. Its directory holds weights to start from.
fn trained(desk: &Desk) -> HashMap<String, Tensor> {
    desk.write("first.toml", &graph(9, "learning_rate = 0.01").replace("HIDDEN", ""));
    desk.framewise(&["run", "-q", "first.toml", "--run-dir", "first"]).expect(0);
    tensors(&desk.path("first"))
}

#[test]
fn a_run_starts_from_a_run_directory_a_checkpoint_or_a_file_bit_for_bit() {
    let desk = Desk::new();
    let given = trained(&desk);
    let fresh = Weights::initial(model(9), SEED, &Device::Cpu, DType::F32).unwrap();
    // Otherwise the test would not tell the two apart.
    assert_ne!(bits(&given["hidden.weight"]), bits(&fresh.get("hidden.weight").unwrap()));
    let newest = framewise_stages::store::find(&desk.path("first")).unwrap().path;
    let newest = newest.strip_prefix(desk.path("first").parent().unwrap()).unwrap().to_owned();
    std::fs::copy(
        desk.path("first").parent().unwrap().join(&newest).join("weights.safetensors"),
        desk.path("w.safetensors"),
    )
    .unwrap();
    for (place, path) in
        ["first".to_owned(), newest.display().to_string(), "w.safetensors".to_owned()].iter().enumerate()
    {
        desk.write("next.toml", &graph(9, &still(path)).replace("HIDDEN", ""));
        let dir = format!("next{place}");
        let said = desk.framewise(&["run", "next.toml", "--run-dir", &dir, "--no-progress"]).expect(0);
        assert!(!said.err.contains("drawn from the seed"), "{}", said.err);
        let found = tensors(&desk.path(&dir));
        assert_eq!(found.len(), given.len());
        for (name, tensor) in &given {
            assert_eq!(bits(&found[name]), bits(tensor), "{path}: {name}");
        }
    }
}

#[test]
fn other_classes_get_a_classifier_drawn_from_the_seed_and_it_is_said() {
    let desk = Desk::new();
    let given = trained(&desk);
    desk.write("next.toml", &graph(12, &still("first")).replace("HIDDEN", ""));
    let said = desk.framewise(&["run", "-q", "next.toml", "--run-dir", "next"]).expect(0);
    assert!(
        said.err.contains(
            "weights for 9 classes, this model has 12: classifier.weight and classifier.bias are drawn"
        ),
        "{}",
        said.err
    );
    let fresh = Weights::initial(model(12), SEED, &Device::Cpu, DType::F32).unwrap();
    let found = tensors(&desk.path("next"));
    for (name, tensor) in &found {
        let expected =
            if name.starts_with("classifier.") { fresh.get(name).unwrap() } else { given[name].clone() };
        assert_eq!(tensor.dims(), expected.dims(), "{name}");
        assert_eq!(bits(tensor), bits(&expected), "{name}");
    }
}

#[test]
fn any_other_difference_is_an_error_with_the_tensor_and_both_shapes() {
    let desk = Desk::new();
    trained(&desk);
    // This holds also where the number of classes differs too.
    for classes in [9, 12] {
        desk.write("next.toml", &graph(classes, &still("first")).replace("HIDDEN", "hidden = 32"));
        let said = desk.framewise(&["run", "-q", "next.toml", "--run-dir", "next"]).expect(65);
        for words in ["first", "`hidden.weight`", "[64, 96]", "[32, 96]"] {
            assert!(said.err.contains(words), "{words}\n{}", said.err);
        }
    }
    desk.write("next.toml", &graph(9, &still("nowhere")).replace("HIDDEN", ""));
    desk.framewise(&["run", "-q", "next.toml", "--run-dir", "none"]).expect(66);
}

#[test]
fn files_of_other_systems_are_sent_to_import() {
    let desk = Desk::new();
    for file in ["golden/paddle/nextvlad_small_protocol4.pdparams", "import/arrays.npz"] {
        desk.write("next.toml", &graph(9, &still(&data(file))).replace("HIDDEN", ""));
        let said = desk.framewise(&["run", "-q", "next.toml", "--run-dir", "next"]).expect(65);
        assert!(said.err.contains(&format!("`framewise import {} ", data(file))), "{}", said.err);
    }
}

/// The small model of `graph`.
fn model(classes: usize) -> Arc<NextVlad> {
    let text = std::fs::read_to_string(root().join("configs/model/nextvlad-small.toml")).unwrap();
    let config: NextVladConfig = toml::from_str(&text).unwrap();
    Arc::new(NextVlad::new(NextVladConfig { rgb_size: 12, audio_size: 12, classes, ..config }).unwrap())
}

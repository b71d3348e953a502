//! Tests of importing files of arrays as numpy and PaddlePaddle write them, and damaged copies of such files. `make.py`
//! in `tests/data/import` made the files there.
use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{Damage, data};
use framewise_stages::import::{Format, NpyHeader, Options, Source, pickle, take_over};

/// The float arrays that `make.py` writes. Element i is i / 4 - 1.
const FLOATS: [(&str, &[usize]); 8] = [
    ("row", &[2, 3]),
    ("column", &[3, 4]),
    ("cube", &[2, 3, 4]),
    ("big", &[5]),
    ("double", &[2, 2]),
    ("half", &[6]),
    ("scalar", &[]),
    ("empty", &[0, 3]),
];

fn counted(shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product()).map(|i: usize| i as f32 / 4.0 - 1.0).collect()
}

fn open(name: &str) -> Source {
    Source::open(&data(&format!("import/{name}"))).unwrap_or_else(|e| panic!("{e}"))
}

fn check(source: &mut Source, name: &str, shape: &[usize]) {
    let file = source.path.display().to_string();
    let index = source.tensors.iter().position(|tensor| tensor.name == name);
    let index = index.unwrap_or_else(|| panic!("{file}: {name}"));
    assert_eq!(source.tensors[index].shape, shape, "{file}: {name}");
    assert_eq!(source.read(index, false).unwrap(), counted(shape), "{file}: {name}");
    if let [rows, columns] = *shape {
        let flat = counted(shape);
        let transposed: Vec<f32> = (0..columns)
            .flat_map(|c| (0..rows).map(move |r| (r, c)))
            .map(|(r, c)| flat[r * columns + c])
            .collect();
        assert_eq!(source.read(index, true).unwrap(), transposed, "{file}: {name} transposed");
    }
}

#[test]
fn pickles_of_every_protocol_hold_what_was_written() {
    for protocol in [2, 3, 4, 5] {
        let mut source = open(&format!("arrays_protocol{protocol}.pickle"));
        assert_eq!(source.format, Format::Pickle);
        FLOATS.iter().for_each(|(name, shape)| check(&mut source, name, shape));
        check(&mut source, "linear.weight", &[3, 2]);
        check(&mut source, "pair", &[4]);
        let named = source.tensors.iter().find(|tensor| tensor.name == "linear.weight").unwrap();
        assert_eq!(named.parameter.as_deref(), Some("linear_0.w_0"));
        assert_eq!(source.others, ["epoch", "rate", "note", "list"]);
        no_floats(&mut source);
    }
}

#[test]
fn archives_stored_and_deflated_hold_what_was_written() {
    for name in ["arrays.npz", "arrays_compressed.npz"] {
        let mut source = open(name);
        assert_eq!(source.format, Format::Npz);
        FLOATS.iter().for_each(|(name, shape)| check(&mut source, name, shape));
        no_floats(&mut source);
    }
    let mut source = open("arrays_versions.npz");
    for version in [1, 2, 3] {
        check(&mut source, &format!("scope/version{version}"), &[2, 3]);
    }
    assert_eq!(source.others, ["notes.txt"]);
}

/// Whole numbers and bools are listed, and refused where weights are wanted.
fn no_floats(source: &mut Source) {
    for (name, dtype) in [("steps", "i64"), ("flags", "bool")] {
        let index = source.tensors.iter().position(|tensor| tensor.name == name).unwrap();
        assert_eq!(source.tensors[index].dtype.to_string(), dtype);
        let error = source.read(index, false).unwrap_err().to_string();
        assert!(error.contains(&format!("tensor `{name}`: its elements are {dtype}")), "{error}");
    }
}

#[test]
fn a_changed_byte_of_an_archive_is_found_by_its_checksum() {
    let bytes = std::fs::read(data("import/arrays.npz")).unwrap();
    // These are the bytes of the float32 -0.75, which only arrays such as `row` hold. Any of those arrays will do.
    let place = bytes.windows(4).position(|word| word == (-0.75f32).to_le_bytes()).unwrap();
    let mut changed = bytes.clone();
    changed[place] ^= 1;
    let mut source = Source::from_bytes(Path::new("changed.npz"), changed).unwrap();
    let errors: Vec<String> = (0..source.tensors.len())
        .filter_map(|index| source.read(index, false).err())
        .map(|e| e.to_string())
        .collect();
    assert!(
        errors.iter().any(|error| error.contains("tensor `row`") && error.contains("checksum")),
        "{errors:#?}"
    );
}

/// Opens the bytes and reads everything that they claim to hold, as a fuzz target does.
fn probe(bytes: Vec<u8>) -> bool {
    let path = Path::new("mutated");
    let Ok(mut source) = Source::from_bytes(path, bytes) else { return false };
    for index in 0..source.tensors.len() {
        if let Ok(values) = source.read(index, index % 2 == 1) {
            assert_eq!(values.len(), source.tensors[index].shape.iter().product::<usize>());
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
    // Most files do not have the names of a NeXtVLAD. A file that has them gives weights or an error.
    take_over(source, &Options::default()).is_ok()
}

#[test]
fn a_hundred_thousand_damaged_pickles_are_read_or_refused() {
    let files: Vec<Vec<u8>> = [2, 3, 4, 5]
        .map(|protocol| std::fs::read(data(&format!("import/arrays_protocol{protocol}.pickle"))).unwrap())
        .into();
    let mut damage = Damage::new(11);
    let (mut read, mut refused) = (0, BTreeMap::<String, usize>::new());
    for round in 0..100_000 {
        let mut bytes = files[round % 4].clone();
        damage.mutate(&mut bytes, &files[(round + 1) % 4]);
        match pickle::state_dict(&bytes) {
            Ok(_) => read += 1,
            Err(error) => *refused.entry(error.why.chars().take(12).collect()).or_default() += 1,
        }
        probe(bytes);
    }
    // The damage must reach every part of the machine, and some damage must not be fatal.
    assert!(read > 1000 && refused.len() > 30, "{read} {refused:#?}");
}

#[test]
fn damaged_parameters_of_paddle_are_weights_or_refused() {
    let files: Vec<Vec<u8>> = [2, 4]
        .map(|p| std::fs::read(data(&format!("golden/paddle/nextvlad_small_protocol{p}.pdparams"))).unwrap())
        .into();
    assert!(files.iter().all(|file| probe(file.clone())));
    let mut damage = Damage::new(12);
    let (mut good, mut bad) = (0, 0);
    for round in 0..4000 {
        let mut bytes = files[round % 2].clone();
        damage.mutate(&mut bytes, &files[(round + 1) % 2]);
        if probe(bytes) { good += 1 } else { bad += 1 }
    }
    assert!(good > 100 && bad > 1000, "{good} {bad}");
}

#[test]
fn damaged_archives_and_headers_are_read_or_refused() {
    let files: Vec<Vec<u8>> = ["arrays.npz", "arrays_compressed.npz", "arrays_versions.npz"]
        .map(|name| std::fs::read(data(&format!("import/{name}"))).unwrap())
        .into();
    let mut damage = Damage::new(13);
    for round in 0..20_000 {
        let mut bytes = files[round % 3].clone();
        damage.mutate(&mut bytes, &files[(round + 1) % 3]);
        probe(bytes);
    }
    let header = b"\x93NUMPY\x01\x00\x3c\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
    let mut good = 0;
    for _ in 0..50_000 {
        let mut bytes = header.to_vec();
        damage.mutate(&mut bytes, header);
        good += usize::from(NpyHeader::read(&mut bytes.as_slice()).is_ok());
    }
    assert!(good > 100, "{good}");
    for _ in 0..20_000 {
        let length = damage.below(200);
        let start = [&b"\x80\x04"[..], b"PK\x03\x04", b"\x80\x02}", b""][damage.below(4)];
        let noise = damage.bytes(length);
        probe([start, &noise].concat());
    }
}

/// The golden parameters of PaddlePaddle, protocol 4, with names replaced.
fn renamed(names: &[(String, String)]) -> Vec<u8> {
    let mut bytes = std::fs::read(data("golden/paddle/nextvlad_small_protocol4.pdparams")).unwrap();
    // The pickle has one frame, whose length would no longer be right.
    assert_eq!(bytes.drain(2..11).next(), Some(0x95));
    for (from, to) in names {
        let text = |name: &str| [&[0x8c, name.len() as u8], name.as_bytes()].concat();
        let place = bytes.windows(from.len() + 2).position(|window| window == text(from));
        let place = place.unwrap_or_else(|| panic!("{from}"));
        bytes.splice(place..place + from.len() + 2, text(to));
    }
    bytes
}

fn taken(bytes: Vec<u8>) -> Result<Vec<(String, Vec<f32>)>, String> {
    let source = Source::from_bytes(Path::new("p.pdparams"), bytes).map_err(|e| e.to_string())?;
    let imported = take_over(source, &Options::default()).map_err(|e| e.to_string())?;
    let values = |tensor: candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    Ok(imported.weights.named_tensors().into_iter().map(|(name, tensor)| (name, values(tensor))).collect())
}

#[test]
fn batch_norms_go_by_the_order_of_their_numbers() {
    let expected = taken(renamed(&[])).unwrap();
    // The numbers 6 to 11 are those of a program that made another network before. 10 comes after 9.
    let parts = ["w_0", "b_0", "w_1", "w_2"];
    let name = |number: usize, part: &str| format!("batch_norm_{number}.{part}");
    let names = (0..6).rev().flat_map(|n| parts.map(|part| (name(n, part), name(n + 6, part))));
    assert_eq!(taken(renamed(&names.collect::<Vec<_>>())).unwrap(), expected);
    let error = taken(renamed(&[(name(5, "w_0"), "other".into())])).unwrap_err();
    assert!(error.contains("p.pdparams: the file has 5 batch norms"), "{error}");
}

#[test]
fn tensors_named_by_their_layer_are_found_by_their_parameter() {
    let expected = taken(renamed(&[])).unwrap();
    let mut bytes = renamed(&[
        ("hidden1_fc_weights".into(), "hidden.fc.weight".into()),
        ("batch_norm_4.w_2".into(), "hidden.norm._variance".into()),
    ]);
    // The last entry of the dict is the table of names that PaddlePaddle keeps.
    assert!(bytes.ends_with(b"bu."));
    bytes.truncate(bytes.len() - 2);
    bytes.extend(b"\x8c\x1bStructuredToParameterName@@}(");
    bytes.extend(b"\x8c\x10hidden.fc.weight\x8c\x12hidden1_fc_weights");
    bytes.extend(b"\x8c\x15hidden.norm._variance\x8c\x10batch_norm_4.w_2uu.");
    assert_eq!(taken(bytes).unwrap(), expected);
}

#[test]
fn a_missing_tensor_is_named_as_here_and_as_there() {
    for (theirs, says) in [
        ("logits_clf_bias", "tensor `classifier.bias` [15] is missing (`logits_clf_bias` in the file)"),
        (
            "batch_norm_3.w_1",
            "tensor `audio.vlad_norm.running_mean` [32] is missing (`batch_norm_3.w_1` in the file)",
        ),
        // This tensor tells a size of the model.
        ("gating_fc1_weights", "tensor `gate1.weight` is missing (`gating_fc1_weights` in the file)"),
    ] {
        let error = taken(renamed(&[(theirs.into(), "other".into())])).unwrap_err();
        assert_eq!(error, format!("p.pdparams: {says}"));
    }
    // Another tensor stands in the place of this one, so the shapes disagree.
    let error = taken(renamed(&[
        ("hidden1_fc_weights".into(), "x".into()),
        ("video_fc_expansion_w".into(), "hidden1_fc_weights".into()),
    ]));
    assert!(error.unwrap_err().contains("tensor `rgb.expand.weight` is missing"));
    let error = taken(renamed(&[
        ("logits_clf_bias".into(), "x".into()),
        ("batch_norm_4.w_0".into(), "logits_clf_bias".into()),
        ("x".into(), "batch_norm_4.w_0".into()),
    ]));
    let error = error.unwrap_err();
    for words in ["tensor `batch_norm_4.w_0` has shape [15]", "`hidden_norm.weight` is [24]"] {
        assert!(error.contains(words), "{error}");
    }
    // Without the factors the features are not scaled.
    let expected = taken(renamed(&[])).unwrap();
    let found = taken(renamed(&[("eigen_param".into(), "x".into())])).unwrap();
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        if name == "input.rgb_scale" {
            assert_eq!(found, &vec![1.0; 32]);
        } else {
            assert_eq!(found, expected, "{name}");
        }
    }
}

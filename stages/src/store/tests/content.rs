//! What is stored comes back, equal state gives equal bytes, and every damage is named.

use candle_core::DType;

use super::*;

#[test]
fn round_trip() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = directory.path().join("run/checkpoints");
    let original = checkpoint(540);
    let path = save(&checkpoints, &original).unwrap();
    assert_eq!(path, checkpoints.join("step-00000540"));
    assert_eq!(names(&checkpoints), ["step-00000540"]);
    assert_eq!(names(&path), ["graph.toml", "manifest.json", "moments.safetensors", "weights.safetensors"]);
    // The checkpoint, the directory of checkpoints, the run.
    for place in [path.as_path(), checkpoints.as_path(), checkpoints.parent().unwrap()] {
        let loaded = load(place).unwrap();
        assert_equal(&loaded, &original);
        assert_eq!(bits(&load_weights(place).unwrap()), bits(&original.weights));
        assert!(loaded.weights.is_sorted_by(|a, b| a.0 < b.0));
    }
    assert_eq!(bits(&load_weights(&path.join("weights.safetensors")).unwrap()), bits(&original.weights));
    assert_eq!(verify(&path).unwrap().len(), 3);
    assert!(matches!(load(&directory.path().join("nowhere")), Err(StoreError::Missing { .. })));
    assert!(matches!(load(directory.path()), Err(StoreError::Missing { .. })));
    assert!(matches!(load(&path.join("graph.toml")), Err(StoreError::Format { .. })));
}

#[test]
fn equal_state_gives_equal_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut shuffled = checkpoint(7);
    shuffled.weights.reverse();
    shuffled.moments.reverse();
    // A view into a larger tensor, not contiguous, with the same values.
    let (name, weight) = shuffled.weights.pop().unwrap();
    assert_eq!(name, "rgb.expand.weight");
    let wide = Tensor::cat(&[&weight, &weight], 1).unwrap().t().unwrap().contiguous().unwrap();
    let view = wide.narrow(0, 301, 301).unwrap().t().unwrap();
    assert!(!view.is_contiguous());
    shuffled.weights.insert(0, (name, view));
    let first = save(one.path(), &checkpoint(7)).unwrap();
    let second = save(two.path(), &shuffled).unwrap();
    assert_eq!(files(&first), files(&second));
}

#[test]
fn the_weights_file_is_what_the_safetensors_crate_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let mut tensors = checkpoint(1).weights;
    for dtype in
        [DType::U8, DType::U32, DType::I64, DType::F16, DType::BF16, DType::F64, DType::I16, DType::I32]
    {
        let values = Tensor::arange(0f32, 100.0, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        tensors.push((format!("{dtype:?}"), values));
    }
    save_weights(&path, &tensors).unwrap();
    let bytes = fs::read(&path).unwrap();
    let expected = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), None).unwrap();
    assert_eq!(bytes, expected);
    let read = load_weights(&path).unwrap();
    assert_eq!(read.len(), tensors.len());
    for (name, tensor) in &tensors {
        let (_, got) = read.iter().find(|(other, _)| other == name).unwrap();
        assert_eq!((got.dtype(), got.dims()), (tensor.dtype(), tensor.dims()));
        let values =
            |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(values(got), values(tensor), "{name}");
    }
    let twice = [tensors[0].clone(), tensors[0].clone()];
    assert!(matches!(save_weights(&path, &twice), Err(StoreError::Format { .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes, "a failed save leaves the old file");
    assert_eq!(names(directory.path()), ["w.safetensors"]);
}

#[test]
fn every_damaged_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &checkpoint(3)).unwrap();
    record_metrics(directory.path(), 3, &metric("gap", 0.5)).unwrap();
    let original = files(&path);
    assert_eq!(original.len(), 5);
    for (name, bytes) in &original {
        let file = path.join(name);
        // The first bytes (lengths, headers), the middle, the last, and some between.
        let places = (0..24).chain((24..bytes.len()).step_by(bytes.len() / 23 + 1)).chain([bytes.len() - 1]);
        for place in places.filter(|&place| place < bytes.len()) {
            for bit in [0, 5, 7] {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                fs::write(&file, &changed).unwrap();
                for error in [load(&path).unwrap_err(), verify(&path).unwrap_err()] {
                    let StoreError::Damaged { path: whose, file, why } = error else {
                        panic!("{name}: {error}")
                    };
                    assert_eq!((&whose, file.as_str()), (&path, name.as_str()), "byte {place}: {why}");
                }
            }
        }
        for length in [0, 5, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&file, &bytes[..length]).unwrap();
            let error = load(&path).unwrap_err();
            assert!(matches!(&error, StoreError::Damaged { file, .. } if file == name), "{error}");
            assert!(!list(directory.path()).unwrap()[0].is_complete(), "{name} cut to {length}");
        }
        fs::write(&file, [bytes.as_slice(), b"x"].concat()).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Damaged { file, .. }) if file == *name));
        fs::remove_file(&file).unwrap();
        if name == "metrics.json" {
            load(&path).unwrap();
        } else {
            let error = load(&path).unwrap_err();
            assert!(
                matches!(&error, StoreError::Damaged { file, why, .. } if file == name && why == "missing"),
                "{error}"
            );
        }
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(load(&path).unwrap().metrics["gap"], 0.5);
}

#[test]
fn a_bare_file_with_a_lying_header_is_refused_before_allocating() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let header = br#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,16]}}"#;
    let tera = br#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    for bytes in [
        [&u64::MAX.to_le_bytes(), header.as_slice()].concat(),
        [&(header.len() as u64).to_le_bytes(), header.as_slice(), &[0; 16]].concat(),
        [&(tera.len() as u64).to_le_bytes(), tera.as_slice(), &[0; 16]].concat(),
        b"abc".to_vec(),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = load_weights(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { file, .. } if file == "w.safetensors"), "{error}");
        // The error names the file itself, not its folder.
        assert!(error.to_string().starts_with(&format!("{} is damaged: ", path.display())), "{error}");
        assert!(describe(&path).is_err() && verify(&path).is_err());
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let directory = saved(&[1]);
    let manifest = directory.path().join("step-00000001/manifest.json");
    let sealed = sealed::seal(&json!({"format": 2, "other": []}), &manifest).unwrap();
    fs::write(&manifest, sealed).unwrap();
    let error = load(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Format { .. }) && error.to_string().contains("format 2"), "{error}");
}

#[test]
fn a_description_tells_without_reading_tensors() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &checkpoint(540)).unwrap();
    let described = describe(directory.path()).unwrap();
    assert_eq!(described.path, path);
    assert_eq!(described.parameter_count(), 700 * 301 + 7 + 1);
    assert_eq!(described.weights.len(), 5);
    assert_eq!(described.weights[3].name, "rgb.expand.weight");
    assert_eq!(
        (described.weights[3].dtype.as_str(), described.weights[3].shape.as_slice()),
        ("F32", &[700, 301][..])
    );
    assert_eq!(described.moments.len(), 2);
    let info = described.checkpoint.as_ref().unwrap();
    assert_eq!((info.step, info.epoch, info.seed, info.samples), (540, 2, u64::MAX - 1, 1 << 54 | 1));
    assert_eq!(info.graph, checkpoint(540).graph);
    let lengths: u64 = ["weights.safetensors", "moments.safetensors", "graph.toml"]
        .iter()
        .map(|name| fs::metadata(path.join(name)).unwrap().len())
        .sum();
    assert_eq!(described.bytes, lengths);
    serde_json::to_string(&described).unwrap();
    let bare = describe(&path.join("weights.safetensors")).unwrap();
    assert!(bare.checkpoint.is_none() && bare.moments.is_empty());
    assert_eq!(bare.weights, described.weights);
}

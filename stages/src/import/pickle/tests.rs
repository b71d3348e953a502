//! Tests with pickles that are made by hand, one operation at a time.

use super::*;

/// The pickle of a dict with one entry `x`, whose value these operations make.
fn dict(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}X\x01\x00\x00\x00x", value, b"s."].concat()
}

fn refused(bytes: &[u8]) -> PickleError {
    state_dict(bytes).unwrap_err()
}

/// The operations for a `numpy.ndarray` of two float32, as Python 2 writes it. Its texts are byte strings.
fn array(shape: &[u8], order: &[u8], data: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 8] = [
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01",
        shape,
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03",
        order,
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
        b"U",
        &[data.len() as u8],
        data,
    ];
    [&parts.concat()[..], b"tb"].concat()
}

#[test]
fn an_array_as_python_2_writes_it() {
    let found = state_dict(&dict(&array(b"K\x02\x85", b"U\x01>", &[63, 128, 0, 0, 192, 0, 0, 0]))).unwrap();
    let [(name, array)] = &found.arrays[..] else { panic!("{found:?}") };
    assert_eq!((name.as_str(), &array.shape, array.fortran, array.latin1), ("x", &vec![2], false, false));
    assert_eq!(array.dtype.to_string(), "f32 (big-endian)");
}

#[test]
fn a_function_is_refused_by_name_and_byte() {
    // This is what an attack looks like: os.system("true"), by both ways to name a function.
    let error = refused(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.");
    assert_eq!(error.at, 2);
    assert!(error.why.contains("`os.system`") && error.why.contains("nothing was run"), "{error}");
    let error = refused(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.");
    assert_eq!((error.at, error.why.contains("`builtins.eval`")), (18, true), "{error}");
    // Attributes of allowed modules are functions of their own.
    for name in [
        "numpy\nload",
        "numpy.core.multiarray\nfromfile",
        "_codecs\nopen",
        "builtins\nexec",
        "collections\nCounter",
    ] {
        let error = refused(&dict(format!("c{name}\n").as_bytes()));
        assert!(error.why.contains(&name.replace('\n', ".")), "{error}");
    }
    // Every other way to make an object is refused: INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, BINPERSID, NEXT_BUFFER.
    for code in [&b"ios\nsystem\n"[..], b"o", b"\x81", b"\x92", b"\x82\x01", b"P1\n", b"Q", b"\x97"] {
        let error = refused(&[b"\x80\x02(", code, b"."].concat());
        assert!(error.why.contains("which no dict of arrays needs") && error.at == 3, "{error}");
    }
}

#[test]
fn allowed_functions_take_only_what_numpy_gives_them() {
    for (value, says) in [
        (&b"K\x01K\x02\x85R"[..], "a whole number is called"),
        (b"cnumpy\ndtype\nK\x01R", "the arguments of a call are a whole number"),
        (b"cnumpy\ndtype\n)R", "Dtype is called with 0 arguments"),
        (b"cnumpy\ndtype\n]\x85R", "a dtype is made of a list"),
        (b"cnumpy\ndtype\nU\x1100000000000000000\x85R", "not of a short code"),
        (b"cnumpy\nndarray\n)R", "Ndarray is called"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R",
            "Reconstruct is called",
        ),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R", "other than latin1"),
        (b"c_codecs\nencode\nK\x01X\x06\x00\x00\x00latin1\x86R", "a whole number is encoded"),
        (b"cbuiltins\nbytes\nK\x05\x85R", "Bytes is called with 1"),
        (b"ccollections\nOrderedDict\n]\x85R", "OrderedDict is called"),
        (b"cbuiltins\ntuple\n]\x85R", "Tuple is called"),
        (b"}K\x01\x85b", "a state is set for a dict"),
        (b"cnumpy\ndtype\nU\x02f4\x85RK\x01b", "a state is a whole number"),
        (b"cnumpy\ndtype\nU\x02f4\x85R)b", "has no byte order"),
    ] {
        let error = refused(&dict(value));
        assert!(error.why.contains(says), "{says}: {error}");
    }
}

#[test]
fn an_array_must_have_its_bytes() {
    let good = array(b"K\x02\x85", b"U\x01<", &[0; 8]);
    assert_eq!(state_dict(&dict(&good)).unwrap().arrays.len(), 1);
    for (shape, says) in [
        (&b"K\x03\x85"[..], "8 bytes cannot be f32 [3]"),
        (b"J\xff\xff\xff\xff\x85", "not made of whole numbers"),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x04\x86", "cannot be f32"),
        (b"K\x02", "shape is a whole number"),
    ] {
        let error = refused(&dict(&array(shape, b"U\x01<", &[0; 8])));
        assert!(error.why.contains(says), "{says}: {error}");
    }
    let axes = [&b"("[..], &[b'K', 1].repeat(65), b"t"].concat();
    assert!(refused(&dict(&array(&axes, b"U\x01<", &[0; 4]))).why.contains("65 axes"));
    // Native byte order says nothing on another machine, so it is refused.
    assert!(refused(&dict(&array(b"K\x02\x85", b"U\x01=", &[0; 8]))).why.contains("byte order"));
}

#[test]
fn a_length_is_compared_before_it_is_used() {
    for code in [b'X', b'B', b'T', 0x8b] {
        let error = refused(&[b"\x80\x04", &[code][..], b"\xff\xff\xff\xff"].concat());
        assert_eq!(
            (error.at, error.why.as_str()),
            (2, "the pickle goes on for 4294967295 bytes, but 0 are left")
        );
    }
    for code in [0x8d, 0x8e, 0x96] {
        let error = refused(&[b"\x80\x04", &[code][..], &[0xff; 8], b"."].concat());
        assert!(error.why.contains("18446744073709551615 bytes, but 1 are left"), "{error}");
    }
    assert!(
        refused(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.")
            .why
            .contains("a frame has 16 bytes, but 1 are left")
    );
    assert!(refused(b"\x80\x02\x8a\x09123456789.").why.contains("a whole number of 9 bytes"));
}

#[test]
fn deep_and_circular_values_need_no_stack() {
    // This is a million lists, each inside the next.
    let deep = [&b"\x80\x02"[..], &b"]".repeat(1_000_000), &b"a".repeat(999_999), b"."].concat();
    assert!(refused(&deep).why.contains("a list, not a dict of arrays"));
    // This is a list that holds itself.
    let round = dict(b"]q\x00h\x00a");
    assert_eq!(state_dict(&round).unwrap().others, ["x"]);
    let endless = [&b"\x80\x02"[..], &b"N0".repeat(1 << 22)].concat();
    assert!(refused(&endless).why.contains("more than 4194304 operations"));
}

#[test]
fn a_small_file_cannot_ask_for_much_work() {
    // This is a text of 1000 characters that is encoded again and again.
    let mut bytes = b"\x80\x02(X\xe8\x03\x00\x00".to_vec();
    bytes.extend([b'a'; 1000]);
    bytes.extend(b"q\x00");
    bytes.extend(b"c_codecs\nencode\nh\x00U\x06latin1\x86R".repeat(100));
    let error = refused(&bytes);
    assert!(error.why.contains("more text is encoded"), "{error}");
    // This is a state of many parts that is set again and again. Only its first parts are looked at.
    let mut bytes = b"\x80\x02cnumpy\ndtype\nU\x02f4\x85Rq\x00(K\x03U\x01<".to_vec();
    bytes.extend(b"N".repeat(1 << 20));
    bytes.extend(b"tq\x010");
    bytes.extend(b"h\x01b".repeat(1 << 20));
    bytes.extend(b".");
    let begun = std::time::Instant::now();
    assert!(refused(&bytes).why.contains("a dtype, not a dict of arrays"));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn stack_and_memo_are_checked() {
    for (bytes, says) in [
        (&b"\x80\x02."[..], "the stack is empty"),
        (b"\x80\x02N(.", "the stack is empty"),
        (b"\x80\x02N(0.", "the stack is empty"),
        (b"\x80\x02Nt.", "there is no mark"),
        (b"\x80\x02h\x05.", "recalls value 5, which it never stored"),
        (b"\x80\x02}(Nu.", "a key without a value"),
        (b"\x80\x02](NNu.", "a key is set in a list, which is not a dict"),
        (b"\x80\x02}Na.", "an item is added to a dict, which is not a list"),
        (b"\x80\x02\x93.", "the stack is empty"),
        (b"\x80\x02}}\x93.", "a function's name is not a text"),
        (b"\x80\x02cnumpy\ndtype", "a function's name has no end"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"\x80\x06.", "pickle protocol 6"),
        (b"\x80\x02}", "goes on for 1 bytes, but 0 are left"),
        (b"", "goes on for 1 bytes, but 0 are left"),
        (b"\x80\x02}.x", "1 bytes before the file does"),
        (b"\x80\x02N.", "None, not a dict"),
        (b"\x80\x02}K\x01Ns.", "a key of the dict is not a text"),
        (b"\x80\x02}(U\x01aNX\x01\x00\x00\x00aNu.", "two entries are named `a`"),
    ] {
        let error = refused(bytes);
        assert!(error.why.contains(says), "{says}: {error}");
    }
    let long = [&b"\x80\x02}X\x01\x02\x00\x00"[..], &[b'n'; 513], b"Ns."].concat();
    assert!(refused(&long).why.contains("at most 512 bytes"));
}

#[test]
fn tensors_in_pieces_are_refused() {
    let error = refused(b"\x80\x02}U\x15UnpackBigParamInfor@@}s.");
    assert!(error.why.contains("cut into pieces; save them with protocol 4"), "{error}");
}

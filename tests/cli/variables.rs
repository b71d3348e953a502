//! Law: an environment variable can give a number, a truth value or a list where the key wants one. What it gives is
//! checked like a value that is written out.

use crate::support::cli::{Desk, Said, data, vowels_graph};

fn render(desk: &Desk, graph: &str, variables: &[(&str, &str)]) -> Said {
    let mut command = desk.command(&["render", graph]);
    command.envs(variables.iter().copied());
    Said::of(command.output().unwrap())
}

/// A graph some keys of which are given by variables.
fn by_variables() -> String {
    let files = format!("files = {:?}", data("japanese_vowels/train.tfrecord"));
    let shuffle = "[stages.shuffle]\ntype = \"shuffle\"\nfrom = \"decode\"\nbuffer = \"${BIG}0\"\n\n";
    vowels_graph()
        .replace(&files, "files = \"${FILES}\"")
        .replace("rgb_size = 12", "rgb_size = \"${RGB}\"")
        .replace("[stages.out]", &format!("{shuffle}[stages.out]"))
        .replace("from = \"decode\"\npath", "from = \"shuffle\"\npath")
}

const GOOD: [(&str, &str); 3] = [("RGB", "12"), ("FILES", "[\"a.tfrecord\", 'b*.tfrecord']"), ("BIG", "1_0")];

#[test]
fn variables_give_numbers_and_lists() {
    let desk = Desk::new();
    desk.write("g.toml", &by_variables());
    let out = render(&desk, "g.toml", &GOOD).expect(0).out;
    assert!(out.contains("rgb_size = 12\n"), "{out}");
    assert!(out.contains("buffer = 100\n"), "{out}");
    assert!(out.contains("/a.tfrecord\", ") && out.contains("/b*.tfrecord\"]"), "{out}");
    // A single path stays one, and so does a glob that begins with a bracket.
    let one = render(&desk, "g.toml", &[GOOD[0], ("FILES", "[ab]*.tfrecord"), GOOD[2]]).expect(0).out;
    assert!(one.contains("[ab]*.tfrecord\"]"), "{one}");
}

#[test]
fn what_does_not_fit_is_shown_where_the_variable_stands() {
    let desk = Desk::new();
    desk.write("g.toml", &by_variables());
    let shown = |rgb: &str| {
        let err = render(&desk, "g.toml", &[("RGB", rgb), GOOD[1], GOOD[2]]).expect(78).err;
        assert!(err.contains("g.toml:8:12"), "{err}");
        assert!(err.contains("^^^^^^^^ its variables give this"), "{err}");
        err
    };
    assert!(shown("twelve").contains("must be a whole number from 1"), "a word");
    assert!(shown("12.5").contains("not the number 12.5"), "a number that is not whole");
    assert!(shown("-3").contains("not the number -3"), "out of range");
    assert!(shown("[12]").contains("not a list"), "a list");
    // The variable's own text is not expanded again.
    assert!(shown("${BIG}").contains("not the text \"${BIG}\""), "a reference");
    let err = render(&desk, "g.toml", &GOOD[1..]).expect(78).err;
    assert!(err.contains("the environment variable `RGB` is not set"), "{err}");
}

#[test]
fn truth_values_seeds_and_elements_of_lists() {
    let desk = Desk::new();
    let graph = "[graph]\nseed = \"${SEED}\"\nstall_timeout = \"${WAIT}\"\n\n".to_owned()
        + &vowels_graph().replace(
            "[stages.decode]",
            "shuffle_files = \"${SHUFFLE}\"\ncapacity = \"${ROOM}\"\n\n[stages.decode]",
        );
    desk.write("g.toml", &graph);
    let set = [("SEED", "7"), ("WAIT", "90"), ("SHUFFLE", "true"), ("ROOM", "5")];
    let out = render(&desk, "g.toml", &set).expect(0).out;
    for line in ["seed = 7\n", "stall_timeout = \"90s\"\n", "shuffle_files = true\n", "capacity = 5\n"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let wrong = [("SEED", "x"), ("WAIT", "soon"), ("SHUFFLE", "yes"), ("ROOM", "0")];
    let err = render(&desk, "g.toml", &wrong).expect(78).err;
    assert!(err.ends_with("4 errors in g.toml\n"), "{err}");
}

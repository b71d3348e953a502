//! Law: no text makes the loader panic, run for long, or take much memory.

use std::fs;
use std::time::{Duration, Instant};

use crate::drawing::large;
use crate::fixture::{TRAIN, load, load_with};

/// The generator xorshift64*, because the mutations must be the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

const PIECES: [&str; 40] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\\",
    "\\u",
    "\0",
    "\u{1b}",
    "é",
    "日",
    "\u{feff}",
    "${",
    "}",
    "$${",
    "${X:-",
    "0x",
    "1e999",
    "-",
    "nan",
    "stages",
    "type",
    "from",
    "2020-01-01",
    "[stages.x]",
    "true",
    " ",
    "\t",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..1 + random.next(4) {
        let mut at = random.next(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let mut end = (at + random.next(12)).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        match random.next(6) {
            0 => text.replace_range(at..end, ""),
            1 => text.insert_str(at, PIECES[random.next(PIECES.len())]),
            2 => text.replace_range(at..end, PIECES[random.next(PIECES.len())]),
            3 => text.truncate(at),
            4 => {
                // A line moves to another place.
                let lines: Vec<&str> = text.lines().collect();
                let line = lines[random.next(lines.len())].to_owned();
                text.insert_str(at, &line);
            }
            _ => {
                let piece = text[at..end].to_owned();
                text.insert_str(at, &piece.repeat(1 + random.next(4)));
            }
        }
        if text.is_empty() {
            text.push('\n');
        }
    }
    text
}

/// The CPU time of this thread, so that other programs on the machine do not count.
fn computed(start: Instant) -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

#[test]
fn mutated_graphs() {
    // To try more inputs: GRAPH_INPUTS=1000000 cargo test --release -p framewise-pipeline mutated_graphs
    let inputs: usize = std::env::var("GRAPH_INPUTS").map_or(100_000, |n| n.parse().expect("a number"));
    let samples = [
        TRAIN.to_owned(),
        large(),
        "[use]\nm = \"x\"\n[stages.r]\ntype = \"reader\"\nconfig = \"m\"\n".into(),
    ];
    let run = |seed: u64, count: usize| {
        let start = Instant::now();
        let mut random = Random(seed);
        let mut fine = 0;
        for i in 0..count {
            let sample = &samples[[0, 0, 0, 0, 0, 0, 0, 1, 2, 2][i % 10]];
            let text = mutate(sample, &mut random);
            match load(&text) {
                Ok(_) => fine += 1,
                Err(found) => {
                    assert!(!found.is_empty());
                    // Drawing carets takes longer than loading.
                    if i % 4 == 0 {
                        assert!(!found.render(i % 8 == 0).is_empty());
                    }
                }
            }
        }
        (fine, computed(start))
    };
    let (fine, took) = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=2).map(|seed| scope.spawn(move || run(seed, inputs / 2))).collect();
        let ends = threads.into_iter().map(|t| t.join().expect("no panic"));
        ends.fold((0, Duration::ZERO), |sum, end| (sum.0 + end.0, sum.1 + end.1))
    });
    println!("{fine} of {inputs} inputs were graphs, {took:?} of computing");
    assert!(fine > 0 && fine < inputs);
    assert!(took < Duration::from_micros(200) * inputs as u32, "{took:?}");
}

#[test]
fn mutated_overrides() {
    let mut random = Random(3);
    for _ in 0..2000 {
        let set = mutate("stages.batch.size=32", &mut random);
        if set.parse::<framewise_pipeline::graph::Override>().is_ok()
            && let Err(found) = load_with(TRAIN, &[&set])
        {
            assert!(!found.render(false).is_empty(), "{set:?}");
        }
    }
}

#[track_caller]
fn quick(text: &str) {
    let start = Instant::now();
    let before = computed(start);
    let result = load(text);
    if let Err(found) = &result {
        let shown = found.render(false);
        assert!(shown.len() < 4 << 20, "{} bytes of messages", shown.len());
    }
    let took = computed(start).saturating_sub(before);
    assert!(took < Duration::from_secs(5), "{took:?} of computing");
}

#[test]
fn deep_nesting() {
    quick(&format!("x = {}", "[".repeat(500_000)));
    quick(&format!("x = {}1{}", "[".repeat(79), "]".repeat(79)));
    quick(&format!("x = {}", "{a=".repeat(200_000)));
    quick(&format!("{} = 1\n", vec!["a"; 300_000].join(".")));
    quick(&format!("[{}]\n", vec!["a"; 300_000].join(".")));
    // Headers, dotted keys and inline tables are each nested as deep as the parser allows.
    let key = vec!["a"; 79].join(".");
    quick(&format!("[{key}]\n{}b = 1{}\n", format!("{key} = {{ ").repeat(79), " }".repeat(79)));
}

#[test]
fn large_texts() {
    quick(&"[stages.x]\n".repeat(80_000));
    quick(&"x\n".repeat(400_000));
    quick(&"x = 1\n".repeat(150_000));
    quick(
        &(0..20_000)
            .map(|i| format!("[stages.s{i}]\ntype = \"batsh\"\nfrom = \"t{i}\"\n"))
            .collect::<String>(),
    );
    quick(
        &(0..1024)
            .map(|i| format!("[stages.s{i}]\ntype = \"relay\"\nfrom = \"s{}\"\n", (i + 1) % 1024))
            .collect::<String>(),
    );
    let ports: String = (0..40_000).map(|i| format!("p{i} = \"q{i}\", ")).collect();
    quick(&format!("[stages.j]\ntype = \"join\"\nfrom = {{ {ports} }}\n"));
    quick(&format!("[stages.r]\ntype = \"reader\"\nfiles = [{}]\n", "3,".repeat(400_000)));
    quick(&format!("[stages.{}]\ntype = \"{}\"\n", "y".repeat(300_000), "z".repeat(300_000)));
    quick(&"#".repeat(2 << 20));
    quick(&"\"".repeat(1 << 20));
    quick(&"[".repeat(1 << 20));
    quick(&"\r".repeat(1 << 20));
}

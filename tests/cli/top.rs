//! `framewise top`: the display in a real terminal, one table for scripts, and runs that do not answer.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::support::child::wait_until;
use crate::support::cli::Desk;
use crate::support::watched::{VIDEOS, Watched};

/// The number of terminals so far, of which each has a name of its own.
static TERMINALS: AtomicU32 = AtomicU32::new(0);

/// A terminal, which tmux keeps, with one command in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// A terminal of this size in which the program runs with these arguments, in the directory of `desk`. When the
    /// program has ended, its exit code is printed. `None` where there is no tmux, which the gate installs.
    fn start(desk: &Desk, (columns, rows): (u16, u16), args: &str) -> Option<Self> {
        // Each terminal has a tmux of its own, because one that ends still holds its socket for a moment.
        let number = TERMINALS.fetch_add(1, Ordering::Relaxed);
        let socket = desk.path(&format!("tmux-{number}")).display().to_string();
        let program = env!("CARGO_BIN_EXE_framewise");
        let line = format!("'{program}' {args}; echo \"left with $?\"; exec sleep 600");
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut command = Command::new("tmux");
        command.args(["-S", &socket, "-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows]);
        command.args(["sh", "-c", &line]).current_dir(desk.path("")).env("LC_ALL", "C.UTF-8");
        match command.status() {
            Ok(status) => assert!(status.success(), "{command:?}"),
            Err(error) => {
                assert!(std::env::var_os("FRAMEWISE_REQUIRE_TMUX").is_none(), "{command:?}: {error}");
                return None;
            }
        }
        Some(Self { socket })
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux").args(["-S", &self.socket]).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the terminal shows.
    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "0"])
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "0", key]);
    }

    /// Waits until the terminal shows all of these texts, and returns what it shows.
    fn wait_for(&self, texts: &[&str]) -> String {
        let mut shown = String::new();
        wait_until(&format!("{texts:?}"), || {
            shown = self.shown();
            texts.iter().all(|text| shown.contains(text))
        });
        shown
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).stderr(Stdio::null()).status();
    }
}

/// Watches a run at this size through all pictures, with a resize, and until the run has ended.
fn watch(size: (u16, u16), other: (u16, u16)) {
    let mut watched = Watched::start();
    let Some(terminal) = Terminal::start(&watched.desk, size, "top run") else { return };
    // Keys that come before the first reading change nothing.
    ["Up", "Down", "End", "Home"].iter().for_each(|key| terminal.press(key));
    watched.feed();
    let videos = VIDEOS.to_string();
    let rows = usize::from(size.1);
    let shown = terminal.wait_for(&["copy  ", "videos", "decode", "out", "q quit"]);
    assert_eq!(shown.lines().count(), rows, "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= size.0.into()), "{shown}");
    for (key, texts) in [
        ("d", ["videos (tfrecord_reader)", &*format!("out  {videos} items")]),
        ("e", ["videos.records", "receiver"]),
        ("l", ["run directory", "esc back"]),
        ("?", ["quit; the run goes on", "esc back"]),
        ("t", ["decode", "busy"]),
    ] {
        // A narrow table of edges leaves the last column out.
        let texts = texts.map(|text| if size.0 < 60 && text == "receiver" { "queue" } else { text });
        terminal.press(key);
        terminal.wait_for(&texts);
    }
    terminal.tmux(&["resize-window", "-x", &other.0.to_string(), "-y", &other.1.to_string()]);
    wait_until("the new size", || {
        let shown = terminal.shown();
        let last = shown.lines().last().unwrap_or_default();
        shown.lines().count() == usize::from(other.1) && last.starts_with("q quit")
    });
    let (_desk, _) = watched.finish();
    terminal.press("d");
    // The last reading stays, which is the one that the run left.
    let ended = terminal.wait_for(&["the run has ended", &format!("out  {videos} items"), "ended"]);
    assert!(ended.contains("videos (tfrecord_reader)"), "{ended}");
    terminal.press("q");
    let left = terminal.wait_for(&["left with 0"]);
    assert!(!left.contains("videos"), "the screen of the display is gone: {left}");
}

#[test]
fn a_small_terminal_shows_a_run_to_its_end() {
    watch((40, 12), (80, 24));
}

#[test]
fn a_usual_terminal_shows_a_run_to_its_end() {
    watch((80, 24), (40, 12));
}

#[test]
fn a_large_terminal_shows_a_run_to_its_end() {
    watch((200, 50), (60, 20));
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let mut watched = Watched::start();
    watched.feed();
    for signal in ["-TERM", "-INT"] {
        let Some(terminal) = Terminal::start(&watched.desk, (80, 24), "top run") else { break };
        terminal.wait_for(&["decode", "q quit"]);
        let shell = terminal.tmux(&["display-message", "-p", "-t", "0", "#{pane_pid}"]);
        let children = Command::new("pgrep").args(["-P", shell.trim()]).output().unwrap();
        let child = String::from_utf8(children.stdout).unwrap();
        assert!(Command::new("kill").args([signal, child.trim()]).status().unwrap().success());
        let left = terminal.wait_for(&["left with 130"]);
        assert!(!left.contains("decode"), "{left}");
        let modes = terminal.tmux(&["display-message", "-p", "-t", "0", "#{alternate_on}#{cursor_flag}"]);
        assert_eq!(modes.trim(), "01", "the screen and the cursor are those of before");
    }
    watched.finish();
}

#[test]
fn one_table_has_the_numbers_of_the_served_reading() {
    let mut watched = Watched::start();
    watched.feed();
    // Nothing moves any more until the pipe is closed, so the counts stay.
    let served = watched.json("/api/reading");
    let said = watched.desk.framewise(&["top", "run", "--once", "--format", "json"]).expect(0);
    let once: Value = serde_json::from_str(&said.out).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&once), keys(&served));
    assert!(once["seconds"].as_f64() >= served["seconds"].as_f64());
    for (of, figures) in [
        ("stages", &["name", "items_in", "items_out", "bytes_in", "bytes_out"][..]),
        ("edges", &["from", "to", "items", "bytes"]),
    ] {
        for (once, served) in once[of].as_array().unwrap().iter().zip(served[of].as_array().unwrap()) {
            figures.iter().for_each(|figure| assert_eq!(once[figure], served[figure], "{figure}"));
        }
    }
    // A stage that waits has worked for the same time in both.
    let busy = |value: &Value| {
        let stages = value["stages"].as_array().unwrap().iter();
        let seconds = value["seconds"].as_f64().unwrap();
        stages.map(|stage| stage["busy"].as_f64().unwrap() * seconds).collect::<Vec<_>>()
    };
    let waiting = |value: &Value| busy(value)[1..].to_vec();
    for (once, served) in waiting(&once).iter().zip(waiting(&served)) {
        assert!((once - served).abs() < 1e-6, "{once} and {served}");
    }
    let text = watched.desk.framewise(&["top", &watched.address, "--once"]).expect(0).out;
    assert!(text.starts_with("copy after ") && text.contains("limiting stage: "), "{text}");
    let row = text.lines().find(|line| line.starts_with("out ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert!(cells.contains(&VIDEOS.to_string().as_str()), "{row}");
    watched.finish();
}

#[test]
fn the_newest_run_that_lives_is_found_and_what_dead_processes_left_is_passed_over() {
    let mut watched = Watched::start();
    watched.feed();
    let desk = &watched.desk;
    std::fs::create_dir_all(desk.path("runs/dead-9")).unwrap();
    std::fs::create_dir_all(desk.path("runs/torn-9")).unwrap();
    std::os::unix::fs::symlink("../run", desk.path("runs/copy-1")).unwrap();
    // A process that is gone left an address at which another run answers now.
    let (address, gone) = (&watched.address, u32::MAX);
    let dead = format!("{{\"version\":1,\"graph\":\"copy\",\"address\":\"{address}\",\"process\":{gone}}}");
    desk.write("runs/dead-9/live.json", &dead);
    desk.write("runs/torn-9/live.json", "{\"version\":1,\"gra");
    for args in [&["top", "--once"][..], &["top", "copy-1", "--once"]] {
        assert!(desk.framewise(args).expect(0).out.starts_with("copy after "));
    }
    let said = desk.framewise(&["top", "dead-9", "--once"]).expect(69);
    assert!(said.err.contains(&format!("process {gone}")) && said.err.contains("--metrics"), "{}", said.err);
    let said = desk.framewise(&["top", "torn-9", "--once"]).expect(69);
    assert!(said.err.contains("no run lives in runs/torn-9"), "{}", said.err);
    std::fs::remove_file(desk.path("runs/copy-1")).unwrap();
    let said = desk.framewise(&["top", "--once"]).expect(69);
    assert!(
        said.err.contains("no run below runs/ is served") && said.err.contains("--metrics"),
        "{}",
        said.err
    );
    watched.finish();
}

#[test]
fn what_cannot_be_watched_is_told_with_what_to_do() {
    let desk = Desk::new();
    let said = desk.framewise(&["top"]).expect(64);
    assert!(said.err.contains("--once"), "{}", said.err);
    assert!(desk.framewise(&["top", "--once"]).expect(69).err.contains("--metrics 127.0.0.1:0"));
    let said = desk.framewise(&["top", "nowhere", "--once"]).expect(66);
    assert!(said.err.contains("nowhere") && said.err.contains("HOST:PORT"), "{}", said.err);
    // Nobody listens at a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let said = desk.framewise(&["top", &free, "--once"]).expect(69);
    assert!(
        said.err.contains(&format!("nothing answers at {free}")) && said.err.contains("--metrics"),
        "{}",
        said.err
    );
}

#[test]
fn a_program_that_is_no_run_holds_nothing_up() {
    let desk = Desk::new();
    for (answer, why) in [
        (None, "does not answer within 5 seconds"),
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "no run of this version"),
        (Some("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"), "404 Not Found: none"),
        (Some("220 smtp.example ready\r\n"), "no run that is served"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            if let Some(answer) = answer {
                let _ = stream.write_all(answer.as_bytes());
            }
            // The connection stays open until the client leaves.
            let _ = stream.read(&mut request);
        });
        let said = desk.framewise(&["top", &address, "--once"]).expect(69);
        assert!(said.err.contains(why), "{why}: {}", said.err);
        server.join().unwrap();
    }
}

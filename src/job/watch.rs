//! The watch that the ranks of a job keep over each other, over connections of their own, beside MPI: each tells every second that
//! it is alive, and at which step it is.
//!
//! Law: when a rank has died, hangs or cannot be reached, every other one knows it within [`SILENCE`] and a second, with its
//! number, its host and its last step.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use framewise_pipeline::{ErrorKind, Failure, StopToken};
use framewise_stages::ranks::Channel;
use serde::{Deserialize, Serialize};

use crate::observe::ranks::{Board, RankView, Sign};

/// The time from one sign of life to the next.
const BEAT: Duration = Duration::from_secs(1);

/// The time without a sign of life after which a rank counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// The time that the ranks have to find each other.
const START: Duration = Duration::from_secs(20);

/// The time from one look at the run of this rank to the next.
const LOOK: Duration = Duration::from_millis(50);

/// The time for one attempt to reach rank 0.
const CONNECT: Duration = Duration::from_secs(2);

/// A rank that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) rank: usize,
    /// The last step that the rank is known to have done.
    pub(crate) step: u64,
    pub(crate) why: String,
}

/// A line between two ranks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Hello {
        token: u32,
        rank: usize,
    },
    Alive(Sign),
    /// The run of the rank has ended by itself before its end.
    Ended {
        step: u64,
    },
    /// The run of the rank is done, and nothing more will come.
    Bye,
    Lost(Lost),
}

/// Where rank 0 listens.
#[derive(Serialize, Deserialize)]
struct Meeting {
    addresses: Vec<IpAddr>,
    port: u16,
    token: u32,
}

/// One rank's part of the watch.
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    rank: usize,
    /// The connections: on rank 0 those of all others, on the others that of rank 0.
    peers: Mutex<BTreeMap<usize, TcpStream>>,
    /// The signs of life of the ranks, as far as this one hears of them.
    board: Arc<Board>,
    is_over: AtomicBool,
    lost: AtomicBool,
    look: OnceLock<Box<dyn Fn() -> Sign + Send + Sync>>,
    on_lost: Box<dyn Fn(&Lost) + Send + Sync>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Connects all ranks, which must all call this. `addresses` are those of this host. When a rank is lost, `on_lost` is called
    /// once.
    ///
    /// # Errors
    /// `Unavailable` (exit code 69), which names the ranks that did not come.
    pub(crate) fn begin(
        channel: &Channel,
        hosts: &[String],
        addresses: Vec<IpAddr>,
        on_lost: impl Fn(&Lost) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let unavailable = |text: String| Failure::new(ErrorKind::Unavailable, text);
        let rank = channel.rank();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0));
        let listener = listener.map_err(|e| unavailable(format!("listening for the other ranks: {e}")))?;
        let port = listener.local_addr().map_or(0, |address| address.port());
        let token = crc32c::crc32c(format!("{:?} {}", Instant::now(), std::process::id()).as_bytes());
        let meeting = serde_json::to_vec(&Meeting { addresses, port, token }).unwrap_or_default();
        let meeting = channel.broadcast(0, &meeting).map_err(|e| unavailable(e.to_string()))?;
        let meeting: Meeting = serde_json::from_slice(&meeting)
            .map_err(|e| Failure::internal(format!("rank 0 says where it listens in other words: {e}")))?;
        let peers = if rank == 0 {
            accept(&listener, meeting.token, hosts)
        } else {
            connect(&meeting, rank).map(|stream| BTreeMap::from([(0, stream)]))
        };
        let peers = peers.map_err(unavailable)?;
        let shared = Arc::new(Shared {
            rank,
            peers: Mutex::new(peers),
            board: Arc::new(Board::new(hosts.to_vec())),
            is_over: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            look: OnceLock::new(),
            on_lost: Box::new(on_lost),
        });
        shared.clone().start().map_err(|e| unavailable(format!("watching the other ranks: {e}")))?;
        Ok(Self { shared })
    }

    /// Says from where is known what this rank says of itself.
    pub(crate) fn signs_from(&self, look: impl Fn() -> Sign + Send + Sync + 'static) {
        let _ = self.shared.look.set(Box::new(look));
    }

    /// What this rank hears of all ranks. Rank 0 hears of all of them.
    pub(crate) fn board(&self) -> Arc<Board> {
        self.shared.board.clone()
    }

    /// The sentence about how long the ranks have waited for each other. `None` on a rank that does not hear of all of them, and
    /// where they hardly waited.
    pub(crate) fn told(&self, hosts: &[String]) -> Option<String> {
        if self.shared.rank != 0 {
            return None;
        }
        self.shared.board.note(0, self.shared.sign());
        let waited = (0..hosts.len()).map(|rank| Some(self.shared.board.last(rank)?.waited));
        let waited: Vec<f64> = waited.collect::<Option<_>>()?;
        let (slowest, least) = waited.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
        if waited.iter().fold(0.0, |most: f64, waited| most.max(*waited)) < 1.0 {
            return None;
        }
        let all = waited.iter().map(|waited| format!("{waited:.1}")).collect::<Vec<_>>().join(", ");
        let host = &hosts[slowest];
        Some(format!(
            "the ranks have waited for each other for {all} s: rank {slowest} ({host}) waited least ({least:.1} s), so it is the \
             slowest"
        ))
    }

    /// Tells the others as soon as the run of this rank is stopped, by a failure of its own for example, so that they end too. The
    /// thread that looks ends when the returned value is dropped.
    pub(crate) fn alarm(&self, stop: &StopToken) -> Alarm {
        let (sender, over) = mpsc::channel::<()>();
        let (shared, stop) = (self.shared.clone(), stop.clone());
        let look = move || {
            while over.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                if stop.is_tripped() {
                    return shared.ended();
                }
            }
            if stop.is_tripped() {
                shared.ended();
            }
        };
        let thread = thread::Builder::new().name("watch alarm".into()).spawn(look).ok();
        Alarm { sender: Some(sender), thread }
    }

    /// Ends the watch: this rank is done.
    pub(crate) fn bye(&self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.tell(&Line::Bye);
    }
}

/// The thread that sounds the alarm.
pub(crate) struct Alarm {
    sender: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Why a rank is lost whose run has ended by itself.
const ENDED: &str = "its run has ended before its end, for the reason that it tells itself";

impl Lost {
    /// The sentence about it.
    pub(crate) fn told(&self, hosts: &[String]) -> String {
        let Self { rank, step, why } = self;
        let host = hosts.get(*rank).map_or("?", String::as_str);
        format!("rank {rank} ({host}) is lost after step {step}: {why}; all ranks end")
    }
}

impl Shared {
    fn start(self: Arc<Self>) -> io::Result<()> {
        let streams: Vec<(usize, TcpStream)> = lock(&self.peers)
            .iter()
            .map(|(rank, stream)| Ok((*rank, stream.try_clone()?)))
            .collect::<io::Result<_>>()?;
        for (rank, stream) in streams {
            stream.set_read_timeout(Some(SILENCE))?;
            let shared = self.clone();
            thread::Builder::new().name(format!("watch {rank}")).spawn(move || shared.hear(rank, stream))?;
        }
        let shared = self.clone();
        let beat = move || {
            while !shared.is_over.load(Ordering::SeqCst) {
                let sign = shared.sign();
                shared.note(shared.rank, sign.clone());
                shared.tell(&Line::Alive(sign));
                thread::sleep(BEAT);
            }
        };
        thread::Builder::new().name("watch beat".into()).spawn(beat).map(|_| ())
    }

    fn sign(&self) -> Sign {
        self.look.get().map_or_else(Sign::default, |look| look())
    }

    /// Notes what a rank says of itself, also for Prometheus.
    fn note(&self, rank: usize, sign: Sign) {
        let label = rank.to_string();
        ::metrics::gauge!("framewise_rank_steps", "rank" => label.clone()).set(sign.step as f64);
        ::metrics::gauge!("framewise_rank_waited_seconds_total", "rank" => label).set(sign.waited);
        self.board.note(rank, sign);
        if rank == self.rank {
            for RankView { rank, slowest, .. } in self.board.view() {
                let label = rank.to_string();
                ::metrics::gauge!("framewise_rank_slowest", "rank" => label).set(f64::from(slowest));
            }
        }
    }

    /// Tells the others that the run of this rank has ended before its end. They end too.
    fn ended(&self) {
        if self.lost.swap(true, Ordering::SeqCst) {
            // It has ended because another one is lost, and that one's name is known.
            return;
        }
        let step = self.sign().step;
        if self.rank == 0 {
            self.tell(&Line::Lost(Lost { rank: 0, step, why: ENDED.to_owned() }));
        } else {
            self.tell(&Line::Ended { step });
        }
    }

    /// Sends a line to all connected ranks. One that cannot be reached is found out by its silence.
    fn tell(&self, line: &Line) {
        let Ok(text) = serde_json::to_string(line) else { return };
        for stream in lock(&self.peers).values_mut() {
            let _ = stream.write_all(format!("{text}\n").as_bytes());
        }
    }

    /// Hears what rank `rank` says until it is done or lost.
    fn hear(&self, rank: usize, stream: TcpStream) {
        let mut lines = BufReader::new(stream);
        loop {
            let mut text = String::new();
            let why = match lines.read_line(&mut text) {
                Ok(0) => "its process has ended".to_owned(),
                Ok(_) => match serde_json::from_str(&text) {
                    Ok(Line::Alive(sign)) => {
                        self.note(rank, sign);
                        continue;
                    }
                    Ok(Line::Ended { step }) => {
                        let sign = self.board.last(rank).unwrap_or_default();
                        self.board.note(rank, Sign { step, ..sign });
                        ENDED.to_owned()
                    }
                    Ok(Line::Bye) => return,
                    Ok(Line::Lost(lost)) => return self.lost(lost),
                    Ok(Line::Hello { .. }) | Err(_) => "it speaks another language".to_owned(),
                },
                Err(error) if is_silence(&error) => {
                    format!(
                        "nothing was heard of it for {} s: it hangs, or cannot be reached",
                        SILENCE.as_secs()
                    )
                }
                Err(error) => format!("its connection broke ({error})"),
            };
            let step = self.board.last(rank).map_or(0, |sign| sign.step);
            return self.lost(Lost { rank, step, why });
        }
    }

    fn lost(&self, lost: Lost) {
        if self.is_over.load(Ordering::SeqCst) || self.lost.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.rank == 0 {
            self.tell(&Line::Lost(lost.clone()));
        }
        (self.on_lost)(&lost);
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Waits for all other ranks.
fn accept(
    listener: &TcpListener,
    token: u32,
    hosts: &[String],
) -> Result<BTreeMap<usize, TcpStream>, String> {
    let begun = Instant::now();
    let failed = |error: io::Error| format!("listening for the other ranks: {error}");
    listener.set_nonblocking(true).map_err(failed)?;
    let mut peers = BTreeMap::new();
    while peers.len() + 1 < hosts.len() {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Some((rank, stream)) = greeted(stream, token).filter(|(rank, _)| *rank < hosts.len()) {
                    peers.insert(rank, stream);
                }
            }
            Err(error) if is_silence(&error) => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(failed(error)),
        }
        if begun.elapsed() > START {
            let missing = (1..hosts.len()).filter(|rank| !peers.contains_key(rank));
            let missing: Vec<String> = missing.map(|rank| format!("rank {rank} ({})", hosts[rank])).collect();
            return Err(format!(
                "waited {} s at the start, and {} did not come: is a firewall between the hosts?",
                START.as_secs(),
                missing.join(", ")
            ));
        }
    }
    Ok(peers)
}

/// The rank at the other end of a new connection, if it is one of this job.
fn greeted(stream: TcpStream, token: u32) -> Option<(usize, TcpStream)> {
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(BEAT)).ok()?;
    stream.set_read_timeout(Some(CONNECT)).ok()?;
    // The rank may already have said more. With a buffer of one byte, nothing of that is taken from the connection here.
    let mut text = String::new();
    BufReader::with_capacity(1, stream.try_clone().ok()?).read_line(&mut text).ok()?;
    match serde_json::from_str(&text).ok()? {
        Line::Hello { token: theirs, rank } if theirs == token => Some((rank, stream)),
        _ => None,
    }
}

/// Reaches rank 0 at one of its addresses.
fn connect(meeting: &Meeting, rank: usize) -> Result<TcpStream, String> {
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < START {
        for address in &meeting.addresses {
            let address = SocketAddr::new(*address, meeting.port);
            let greeted = TcpStream::connect_timeout(&address, CONNECT).and_then(|mut stream| {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(BEAT))?;
                let hello = Line::Hello { token: meeting.token, rank };
                let text = serde_json::to_string(&hello).map_err(io::Error::other)?;
                stream.write_all(format!("{text}\n").as_bytes())?;
                Ok(stream)
            });
            match greeted {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(format!("rank {rank} could not reach rank 0 within {} s ({last})", START.as_secs()))
}

#[cfg(test)]
mod tests;

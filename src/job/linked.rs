//! The processes of a job that can exchange messages, because MPI started them.
//!
//! Law: what the ranks of a run must have in common is compared before anything is written, and a difference is told by the rank
//! and the host that have it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::stage::context::Level;
use framewise_pipeline::{ErrorKind, Failure, StopToken};
use framewise_stages::ranks::{Channel, Link, LinkError, Ranks, Split};

use super::member::Job;
use super::watch::{Lost, Watch};
use crate::observe::journal::Journal;

/// A process that is linked with the others of its job.
pub(crate) struct Linked {
    link: Arc<dyn Link>,
    hosts: Vec<String>,
    channel: Channel,
    #[cfg(feature = "mpi")]
    mpi: Arc<framewise_stages::ranks::mpi::Mpi>,
    #[cfg(feature = "mpi")]
    /// MPI ends only where this rank comes to its end in order: for the end of MPI, all ranks must come together.
    session: std::mem::ManuallyDrop<framewise_stages::ranks::mpi::Session>,
}

/// The time after which the process ends if its run has not when a rank is lost.
const LAST: Duration = Duration::from_secs(4);

/// The time in which all ranks tell why they end before the first of them ends the job.
#[cfg(feature = "mpi")]
const TELLING: Duration = Duration::from_millis(800);

/// The addresses at which other hosts may reach this one, the loopback addresses last.
#[cfg(feature = "mpi")]
fn addresses() -> Vec<IpAddr> {
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let mut found: Vec<IpAddr> = found.filter(IpAddr::is_ipv4).collect();
    found.sort_by_key(IpAddr::is_loopback);
    found
}

#[cfg(not(feature = "mpi"))]
fn addresses() -> Vec<IpAddr> {
    Vec::new()
}

/// The failure of a job whose ranks cannot exchange what they must.
fn unlinked(what: &str, error: &LinkError) -> Failure {
    Failure::new(ErrorKind::Unavailable, format!("{what}: {error}"))
}

/// Links this process with the others of its job. `None` where this program has no MPI, or another launcher started it.
///
/// # Errors
/// MPI cannot begin, or counts other ranks than the launcher's variables.
#[cfg(feature = "mpi")]
pub(crate) fn link(job: &Job) -> Result<Option<Linked>, Failure> {
    use crate::terminal;
    use framewise_stages::ranks::mpi::Session;

    if job.is_alone() || !job.is_mpi() {
        return Ok(None);
    }
    let begun = Session::begin();
    let (session, mpi) = begun.map_err(|why| Failure::new(ErrorKind::Unavailable, why))?;
    if (mpi.rank(), mpi.size()) != (job.of.rank, job.of.size) {
        let (rank, size) = (mpi.rank(), mpi.size());
        return Err(Failure::new(
            ErrorKind::Unavailable,
            format!(
                "{}, but MPI says rank {rank} of {size}: this program was built for another MPI than that of its launcher",
                job.told()
            ),
        ));
    }
    BEGUN.store(true, std::sync::atomic::Ordering::SeqCst);
    terminal::begin_lines_with(format!("[rank {} {}] ", mpi.rank(), Session::host()));
    let mpi = Arc::new(mpi);
    let link: Arc<dyn Link> = mpi.clone();
    let nobody = Ranks::linked(link.clone(), vec![String::new(); mpi.size()], Split::Records);
    let channel =
        nobody.channel("job").and_then(|channel| channel.ok_or(LinkError::System("no link".into())));
    let channel = channel.map_err(|e| unlinked("linking the ranks", &e))?;
    let hosts = channel.all_gather(Session::host().as_bytes());
    let hosts = hosts.map_err(|e| unlinked("linking the ranks", &e))?;
    let hosts = hosts.iter().map(|host| String::from_utf8_lossy(host).into_owned()).collect();
    Ok(Some(Linked { link, hosts, channel, mpi, session: std::mem::ManuallyDrop::new(session) }))
}

/// Links this process with the others of its job, which this program cannot: it has no MPI.
///
/// # Errors
/// None.
#[cfg(not(feature = "mpi"))]
pub(crate) fn link(_job: &Job) -> Result<Option<Linked>, Failure> {
    Ok(None)
}

/// Ends all ranks of the job at once where MPI has begun, because this one cannot begin its run.
pub(crate) fn end_all(exit_code: u8) {
    #[cfg(feature = "mpi")]
    if BEGUN.load(std::sync::atomic::Ordering::SeqCst) {
        framewise_stages::ranks::mpi::Session::abort(exit_code.into());
    }
    #[cfg(not(feature = "mpi"))]
    let _ = exit_code;
}

/// Whether MPI has begun in this process.
#[cfg(feature = "mpi")]
static BEGUN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Linked {
    /// This rank's number, from 0.
    pub(crate) fn rank(&self) -> usize {
        self.link.rank()
    }

    /// The name of each rank's host.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Begins to watch the other ranks. When one is lost, this one's run is stopped, and fails with the name of the lost one. If it
    /// does not end, the process does.
    ///
    /// # Errors
    /// A rank does not come.
    pub(crate) fn watch(&self, stop: &StopToken, journal: &Arc<Journal>) -> Result<Watch, Failure> {
        let (stop, journal, hosts) = (stop.clone(), journal.clone(), self.hosts.clone());
        let on_lost = move |lost: &Lost| {
            let text = lost.told(&hosts);
            journal.note(Level::Warning, &text);
            stop.fail(Failure::new(ErrorKind::Stalled, text));
            let code = ErrorKind::Stalled.exit_code();
            let last = move || {
                std::thread::sleep(LAST);
                end_all(code);
                std::process::exit(code.into());
            };
            // Without the thread, a stage that does not end keeps the process alive. There is no other way to end it in order.
            let _ = std::thread::Builder::new().name("end".into()).spawn(last);
        };
        Watch::begin(&self.channel, &self.hosts, addresses(), on_lost)
    }

    /// The ranks for the stages of a run of this graph.
    pub(crate) fn ranks(&self, graph: &ResolvedGraph) -> Ranks {
        Ranks::linked(self.link.clone(), self.hosts.clone(), split(graph))
    }

    /// Gives all ranks the seed of rank 0 where the graph has none, and compares what they must have in common.
    ///
    /// # Errors
    /// `Config`, which names a rank with another program, graph or checkpoint.
    pub(crate) fn agree(&self, graph: &mut ResolvedGraph, resume: Option<&str>) -> Result<(), Failure> {
        let what = "comparing the ranks";
        let seed = self.channel.broadcast(0, &graph.seed.to_le_bytes()).map_err(|e| unlinked(what, &e))?;
        graph.seed = seed.try_into().map_or(graph.seed, u64::from_le_bytes);
        let program =
            std::env::current_exe().and_then(std::fs::read).map_or(0, |bytes| crc32c::crc32c(&bytes));
        let own = [
            ("program", format!("{} {program:08x}", env!("CARGO_PKG_VERSION"))),
            ("graph", format!("{:08x}", crc32c::crc32c(graph::render(graph).as_bytes()))),
            ("command line's --resume", resume.unwrap_or_default().to_owned()),
        ];
        let text = own.iter().map(|(_, value)| value.replace('\n', " ")).collect::<Vec<_>>().join("\n");
        let all = self.channel.all_gather(text.as_bytes()).map_err(|e| unlinked(what, &e))?;
        for (rank, theirs) in all.iter().enumerate() {
            let theirs = String::from_utf8_lossy(theirs);
            let mut pairs = own.iter().zip(theirs.split('\n'));
            if let Some(((name, value), theirs)) = pairs.find(|((_, value), theirs)| value != theirs) {
                let host = &self.hosts[rank];
                return Err(Failure::config(format!(
                    "rank {rank} ({host}) has another {name} than rank {}: {theirs} where that one has {value}",
                    self.rank()
                )));
            }
        }
        Ok(())
    }

    /// The path that rank 0 has.
    ///
    /// # Errors
    /// A rank is missed.
    pub(crate) fn path_of_rank_0(&self, own: &std::path::Path) -> Result<PathBuf, Failure> {
        let path = self.channel.broadcast(0, own.to_string_lossy().as_bytes());
        let path = path.map_err(|e| unlinked("sharing the run directory", &e))?;
        Ok(PathBuf::from(String::from_utf8_lossy(&path).into_owned()))
    }

    /// Lets threads that wait for other ranks give up when the run is stopped.
    pub(crate) fn stops_with(&self, stop: &StopToken) {
        #[cfg(feature = "mpi")]
        {
            let stop = stop.clone();
            self.mpi.ends_when(move || stop.is_tripped());
        }
        #[cfg(not(feature = "mpi"))]
        let _ = stop;
    }

    /// Ends the link in order, for which all ranks must come together, or ends all ranks at once where this one has failed.
    pub(crate) fn end(self, exit_code: u8, has_failed: bool) {
        #[cfg(feature = "mpi")]
        {
            if has_failed {
                // The launcher kills the others as soon as one ends like this.
                std::thread::sleep(TELLING);
                framewise_stages::ranks::mpi::Session::abort(exit_code.into());
            }
            drop(std::mem::ManuallyDrop::into_inner(self.session));
        }
        #[cfg(not(feature = "mpi"))]
        let _ = (exit_code, has_failed);
    }
}

/// The stage that makes the run of a graph a training.
pub(super) fn trainer(graph: &ResolvedGraph) -> Option<&graph::ResolvedStage> {
    graph.stages.iter().find(|stage| stage.type_name == "optimizer")
}

/// How the ranks divide the work of a graph: a training run by the shards of each step, any other by the records.
pub(super) fn split(graph: &ResolvedGraph) -> Split {
    if trainer(graph).is_none() {
        return Split::Records;
    }
    // Whoever passes over a bad record changes what the steps behind it are made of, so that every rank must know of it.
    let passes_over = |stage: &graph::ResolvedStage| {
        stage.settings.get("on_error").and_then(|value| value.as_str()).is_some_and(|word| word == "skip")
    };
    Split::Shards { shards: shards(graph), own_records: !graph.stages.iter().any(passes_over) }
}

/// The number of shards of a step.
pub(super) fn shards(graph: &ResolvedGraph) -> usize {
    let stages = graph.stages.iter().filter(|stage| stage.type_name == "shard");
    stages.map(|stage| stage.settings.integer("shards") as usize).product()
}

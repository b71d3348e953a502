//! This process as one of those that run a graph together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::channel::Channel;
use super::link::{Link, LinkError};
use super::share::Share;

/// How the work of a graph is divided among the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Every rank reads a part of the records, and their results are merged. So are evaluation and prediction divided.
    Records,
    /// Every rank makes the same steps and computes some of the shards of each. So is training divided.
    Shards {
        /// The number of shards of a full step.
        shards: usize,
        /// Whether a rank reads the records of its own shards only. Then no bad record is passed over, because another rank
        /// would not know that it is missing.
        own_records: bool,
    },
}

/// The ranks of a job as one of them sees them. The caller of a run puts it into
/// [`framewise_pipeline::engine::RunOptions::resources`]. Without it, a process is alone.
pub struct Ranks {
    rank: usize,
    hosts: Vec<String>,
    split: Split,
    link: Option<Arc<dyn Link>>,
    tags: Mutex<BTreeMap<i32, String>>,
    /// The nanoseconds for which stages of this rank have waited for other ranks.
    waited: Arc<AtomicU64>,
    /// What stands before the name of each channel.
    scope: String,
}

impl Ranks {
    /// A process that runs its graph alone.
    pub fn alone() -> Self {
        Self::apart(0, vec!["localhost".into()], Split::Records)
    }

    /// Rank `rank` of ranks that exchange nothing while they run. `hosts` has the name of each rank's host, which may be
    /// empty where it is not known; the number of hosts is the number of ranks.
    pub fn apart(rank: usize, hosts: Vec<String>, split: Split) -> Self {
        Self::new(rank, hosts, split, None)
    }

    /// The rank at this end of a link. `hosts` has the name of each rank's host.
    pub fn linked(link: Arc<dyn Link>, hosts: Vec<String>, split: Split) -> Self {
        Self::new(link.rank(), hosts, split, Some(link))
    }

    fn new(rank: usize, hosts: Vec<String>, split: Split, link: Option<Arc<dyn Link>>) -> Self {
        let (tags, waited, scope) = (Mutex::default(), Arc::default(), String::new());
        Self { rank, hosts, split, link, tags, waited, scope }
    }

    /// Returns these ranks for a graph that is divided in this way, such as the evaluation inside a training run.
    pub fn split_by(&self, split: Split) -> Self {
        let tags = Mutex::new(self.tags.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let (hosts, link, scope) = (self.hosts.clone(), self.link.clone(), self.scope.clone());
        Self { rank: self.rank, hosts, split, link, tags, waited: self.waited.clone(), scope }
    }

    /// Returns these ranks for what runs inside the stage `stage`. Its channels are others than those of the same names outside.
    #[must_use]
    pub fn within(mut self, stage: &str) -> Self {
        self.scope = format!("{}{stage}/", self.scope);
        self
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of processes.
    pub fn size(&self) -> usize {
        self.hosts.len()
    }

    /// How the work is divided.
    pub fn split(&self) -> Split {
        self.split
    }

    /// The share of the records that this rank reads. Ranks that divide the shards of each step read all records.
    pub fn share(&self) -> Share {
        match self.split {
            Split::Records => Share { rank: self.rank, ranks: self.size() },
            Split::Shards { .. } => Share::WHOLE,
        }
    }

    /// The rank as messages name it, with its host where that is known.
    pub fn named(&self, rank: usize) -> String {
        match self.host(rank) {
            "" => format!("rank {rank}"),
            host => format!("rank {rank} ({host})"),
        }
    }

    /// The name of a rank's host, which is empty where it is not known.
    pub fn host(&self, rank: usize) -> &str {
        self.hosts.get(rank).map_or("", String::as_str)
    }

    /// Whether the ranks can exchange messages.
    pub fn are_linked(&self) -> bool {
        self.link.is_some()
    }

    /// The time for which stages of this rank have waited for other ranks so far.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// Counts a wait for other ranks.
    pub(crate) fn has_waited(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The channel of this name, or `None` where the ranks exchange nothing or there is one alone. All ranks must use the
    /// same names. One name is for one user on each rank, such as a stage.
    ///
    /// # Errors
    /// [`LinkError::System`] if another name has the same tag, so that another one must be chosen.
    pub fn channel(&self, name: &str) -> Result<Option<Channel>, LinkError> {
        let Some(link) = self.link.as_ref().filter(|_| self.size() > 1) else { return Ok(None) };
        let name = format!("{}{name}", self.scope);
        // A tag depends on the name alone, so that ranks need not ask for their channels in the same order.
        let tag = (crc32c::crc32c(name.as_bytes()) & 0x3fff_ffff) as i32;
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = tags.entry(tag).or_insert_with(|| name.clone());
        if *holder != name {
            return Err(LinkError::System(format!("the channels `{holder}` and `{name}` have the same tag")));
        }
        Ok(Some(Channel::new(link.clone(), tag)))
    }
}

impl std::fmt::Debug for Ranks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rank, hosts, split, .. } = self;
        let linked = self.are_linked();
        f.debug_struct("Ranks")
            .field("rank", rank)
            .field("hosts", hosts)
            .field("split", split)
            .field("linked", &linked)
            .finish()
    }
}

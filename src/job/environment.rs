//! Rank and size from the variables that launchers set.

use std::ffi::OsString;

use framewise_pipeline::Failure;

use super::rank::{Rank, number};

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) of: Rank,
    pub(super) launcher: &'static str,
    variables: (&'static str, &'static str),
}

/// A launcher, and how it is known.
struct Launcher {
    name: &'static str,
    rank: &'static str,
    size: &'static str,
    /// Whether the launcher is there, by the names of the variables that are set.
    is_there: fn(Set<'_>) -> bool,
}

/// Whether the variable of a name is set.
type Set<'a> = &'a dyn Fn(&str) -> bool;

/// The launchers, the innermost first: the processes of torchrun and mpirun are often started by a step of Slurm that has
/// one task for each node.
const LAUNCHERS: [Launcher; 4] = [
    Launcher {
        name: "torchrun",
        rank: "RANK",
        size: "WORLD_SIZE",
        // Others use the same two names, so torchrun must show by a third.
        is_there: |set| {
            (set("TORCHELASTIC_RUN_ID") || set("LOCAL_RANK")) && (set("RANK") || set("WORLD_SIZE"))
        },
    },
    Launcher {
        name: "mpirun",
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        is_there: |set| set("OMPI_COMM_WORLD_RANK") || set("OMPI_COMM_WORLD_SIZE"),
    },
    Launcher {
        name: "PMI",
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        is_there: |set| set("PMI_RANK") || set("PMI_SIZE"),
    },
    Launcher {
        name: SLURM,
        rank: "SLURM_PROCID",
        size: "SLURM_STEP_NUM_TASKS",
        // A shell in an allocation has the number of tasks too, and runs once. Only a step runs as often.
        is_there: |set| set("SLURM_STEP_ID") && set("SLURM_STEP_NUM_TASKS") && set("SLURM_PROCID"),
    },
];

const SLURM: &str = "Slurm";

impl Found {
    /// The variables that say so.
    pub(super) fn variables(&self) -> String {
        format!("{} and {}", self.variables.0, self.variables.1)
    }
}

/// The rank and size of this process, by the variables that `variable` looks up. `None` where no launcher has started it.
///
/// # Errors
/// `Config`, which names the variables, where they contradict each other or make no sense.
pub(super) fn find(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Found>, Failure> {
    let set = |name: &str| variable(name).is_some();
    let there = LAUNCHERS.iter().filter(|launcher| (launcher.is_there)(&set));
    let mut found = there.map(|launcher| launcher.read(variable));
    let Some(first) = found.next().transpose()? else { return Ok(None) };
    for other in found {
        let other = other?;
        // A step that only starts the launcher has another number of tasks.
        let is_around = other.launcher == SLURM && other.of.size != first.of.size;
        if other.of != first.of && !is_around {
            return Err(Failure::config(format!(
                "{} say that this is process {} of {}, and {} say {} of {}: unset those that are left from elsewhere, or \
                 say which it is with --rank",
                first.variables(),
                first.of.rank,
                first.of.size,
                other.variables(),
                other.of.rank,
                other.of.size
            )));
        }
    }
    Ok(Some(first))
}

impl Launcher {
    fn read(&self, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Found, Failure> {
        let value = |name: &'static str| {
            let Some(text) = variable(name) else {
                return Err(Failure::config(format!(
                    "{} has started this process, it seems, but {name} is not set",
                    self.name
                )));
            };
            let text = text.to_string_lossy().into_owned();
            let wrong = || Failure::config(format!("{name}={text} is not a whole number"));
            Ok((number(&text).ok_or_else(wrong)?, text))
        };
        let ((rank, rank_text), (size, size_text)) = (value(self.rank)?, value(self.size)?);
        let of = Rank { rank, size };
        if !of.is_possible() {
            return Err(Failure::config(format!(
                "{}={rank_text} with {}={size_text}: there is no such process",
                self.rank, self.size
            )));
        }
        Ok(Found { of, launcher: self.name, variables: (self.rank, self.size) })
    }
}

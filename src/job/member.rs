//! The job that this process belongs to.

use std::ffi::OsString;

use framewise_stages::ranks::{Ranks, Split};

use super::environment::{self, Found};
use super::rank::Rank;
use crate::exit::UsageError;

/// The job that this process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) of: Rank,
    /// Who said so.
    from: &'static str,
}

impl Job {
    /// The job that `--rank` names, or else the environment of the process, whose variables `variable` looks up.
    ///
    /// # Errors
    /// A usage error where `--rank` contradicts the environment. `Config` where the environment contradicts itself, or says
    /// something that makes no sense.
    pub(crate) fn find(
        given: Option<Rank>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> anyhow::Result<Self> {
        let Some(given) = given else {
            let found = environment::find(variable)?;
            let alone = Self { of: Rank { rank: 0, size: 1 }, from: "" };
            return Ok(found.map_or(alone, |Found { of, launcher, .. }| Self { of, from: launcher }));
        };
        let job = Self { of: given, from: "--rank" };
        if given.size == 1 {
            return Ok(job);
        }
        match environment::find(variable)? {
            Some(found) if found.of.size > 1 && found.of != given => Err(UsageError(format!(
                "--rank {given} contradicts {}, of which this is process {}: leave --rank out",
                found.variables(),
                found.of
            ))
            .into()),
            _ => Ok(job),
        }
    }

    /// Whether there is one process alone.
    pub(crate) fn is_alone(&self) -> bool {
        self.of.size == 1
    }

    /// Whether a launcher of MPI has started this process.
    #[cfg(feature = "mpi")]
    pub(super) fn is_mpi(&self) -> bool {
        match self.from {
            "mpirun" | "PMI" => true,
            // srun speaks PMIx where it was told to.
            "Slurm" => std::env::var_os("PMIX_RANK").is_some(),
            _ => false,
        }
    }

    /// The ranks for the stages of a run. The processes of a job exchange nothing, so they can divide records and leave
    /// their parts for a merge.
    pub(crate) fn ranks(&self) -> Ranks {
        Ranks::apart(self.of.rank, vec![String::new(); self.of.size], Split::Records)
    }

    /// The sentence with which a run of several processes begins.
    pub(crate) fn told(&self) -> String {
        let Rank { rank, size } = self.of;
        format!("rank {rank} of {size} (from {})", self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    fn job(given: Option<&str>, environment: &[(&str, &str)]) -> Result<String, (u8, String)> {
        let given = given.map(|text| text.parse().unwrap());
        let variable = |name: &str| {
            let set = environment.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| OsString::from(value))
        };
        let job = Job::find(given, &variable).map_err(|error| (code_of(&error), error.to_string()))?;
        Ok(if job.is_alone() { "alone".to_owned() } else { job.told() })
    }

    const STEP: [(&str, &str); 3] =
        [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "3")];
    const TORCHRUN: [(&str, &str); 3] = [("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")];
    const MPIRUN: [(&str, &str); 2] = [("OMPI_COMM_WORLD_RANK", "5"), ("OMPI_COMM_WORLD_SIZE", "8")];

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        assert_eq!(job(None, &[]).unwrap(), "alone");
        assert_eq!(job(None, &STEP).unwrap(), "rank 3 of 4 (from Slurm)");
        assert_eq!(job(None, &TORCHRUN).unwrap(), "rank 1 of 2 (from torchrun)");
        assert_eq!(job(None, &MPIRUN).unwrap(), "rank 5 of 8 (from mpirun)");
        assert_eq!(job(None, &[("PMI_RANK", "0"), ("PMI_SIZE", "3")]).unwrap(), "rank 0 of 3 (from PMI)");
        assert_eq!(job(Some("2/3"), &[]).unwrap(), "rank 2 of 3 (from --rank)");
    }

    #[test]
    fn a_shell_in_an_allocation_and_variables_of_others_mean_nothing() {
        for environment in [
            &[("SLURM_JOB_ID", "77"), ("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")][..],
            &[("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
            &[("RANK", "1"), ("WORLD_SIZE", "2")],
            &[("WORLD_SIZE", "a lot")],
        ] {
            assert_eq!(job(None, environment).unwrap(), "alone", "{environment:?}");
        }
    }

    #[test]
    fn the_innermost_launcher_counts() {
        // mpirun and torchrun start their own processes on each node by a step of one task a node.
        for inner in [&TORCHRUN[..], &MPIRUN] {
            let both = [&STEP[..], inner].concat();
            assert_eq!(job(None, &both), job(None, inner));
        }
        let same = [&STEP[..], &[("PMI_RANK", "3"), ("PMI_SIZE", "4")]].concat();
        assert_eq!(job(None, &same).unwrap(), "rank 3 of 4 (from PMI)");
    }

    #[test]
    fn what_contradicts_itself_or_makes_no_sense_is_named() {
        let cases: [(Option<&str>, &[(&str, &str)], u8, &[&str]); 8] = [
            (
                None,
                &[("OMPI_COMM_WORLD_RANK", "4"), ("OMPI_COMM_WORLD_SIZE", "4")],
                78,
                &["OMPI_COMM_WORLD_RANK=4"],
            ),
            (None, &[("OMPI_COMM_WORLD_RANK", "4")], 78, &["OMPI_COMM_WORLD_SIZE is not set"]),
            (None, &[("PMI_RANK", "-1"), ("PMI_SIZE", "2")], 78, &["PMI_RANK=-1"]),
            (None, &[("PMI_RANK", "0"), ("PMI_SIZE", "0")], 78, &["PMI_SIZE=0"]),
            (None, &[("LOCAL_RANK", "0"), ("RANK", "0")], 78, &["WORLD_SIZE is not set"]),
            (
                None,
                &[&STEP[..], &[("PMI_RANK", "2"), ("PMI_SIZE", "4")]].concat(),
                78,
                &["PMI_RANK", "SLURM_PROCID"],
            ),
            (None, &[&MPIRUN[..], &TORCHRUN].concat(), 78, &["OMPI_COMM_WORLD_RANK", "WORLD_SIZE"]),
            (Some("0/4"), &STEP, 64, &["--rank 0/4", "SLURM_PROCID", "3/4"]),
        ];
        for (given, environment, code, words) in cases {
            let (found, text) = job(given, environment).unwrap_err();
            assert_eq!(found, code, "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
        // This process is one of several, and the user wants a run of its own in each.
        assert_eq!(job(Some("0/1"), &STEP).unwrap(), "alone");
        assert_eq!(job(Some("3/4"), &STEP).unwrap(), "rank 3 of 4 (from --rank)");
    }

    #[test]
    fn a_rank_is_two_numbers() {
        for text in ["", "1", "1/", "/2", "2/2", "0/0", "-1/2", "+0/2", "0/ 2", "a/b", "0/70000", "1/2/3"] {
            assert!(text.parse::<Rank>().is_err(), "{text}");
        }
        assert_eq!("65535/65536".parse(), Ok(Rank { rank: 65535, size: 65536 }));
    }
}

//! The laws of Framewise, over the crates and the binary as users have them. A folder holds one subject, a module one
//! law.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

/// Helpers for tests of several subjects: graphs that run in the test's own process, runs of the binary, and data sets.
mod support {
    pub(crate) mod child;
    pub(crate) mod cli;
    pub(crate) mod divided;
    pub(crate) mod files;
    pub(crate) mod limited;
    pub(crate) mod records;
    pub(crate) mod resume;
    pub(crate) mod run;
    pub(crate) mod trained;
    pub(crate) mod trial;
    pub(crate) mod watched;
}

/// The rules of the architecture, read from the sources.
mod architecture;

/// The command line as a user meets it: what each command prints, and the code with which it exits.
mod cli {
    mod check;
    mod check_inputs;
    mod end;
    mod export;
    mod history;
    mod hostile;
    mod import;
    mod init;
    mod inspect;
    mod inspect_values;
    #[cfg(unix)]
    mod limits;
    mod mistakes;
    mod own_data;
    mod paths;
    mod plan;
    mod prometheus;
    mod readings;
    mod run;
    mod serve;
    mod signals;
    mod stages;
    mod tap;
    mod top;
    mod trace;
    mod tune;
    mod variables;
}

/// The graphs of the repository and the table of stage types.
mod graphs {
    mod across;
    #[cfg(unix)]
    mod agreement;
    mod cascades;
    mod files;
    mod own_stages;
    mod registry;
}

/// What whole graphs compute: training, evaluation and prediction.
mod model {
    mod any_batch;
    mod capacity_and_workers;
    mod csv_scores;
    mod devices;
    mod divided;
    mod evaluation;
    mod full_size;
    mod init_from;
    mod logs;
    mod nonfinite;
    mod plain_loop;
    mod precision;
    mod quickstart;
    mod video_level;
    mod video_level_fit;
}

/// Record files, good and damaged.
mod records {
    mod counts;
    mod golden;
    mod made;
    mod messages;
    mod packed;
    mod side_by_side;
    #[cfg(unix)]
    mod streams;
    mod uninformative;
}

/// Crashes, failures, full disks, stalls and long runs.
mod reliability {
    mod crash;
    mod failed_evaluation;
    mod failure;
    mod file_system_faults;
    mod held_states;
    mod memory;
    mod nothing;
    mod outputs;
    #[cfg(feature = "heap-log")]
    mod planned_memory;
    #[cfg(feature = "heap-log")]
    mod soak;
    mod stall;
    mod unlabelled;
}

/// Runs that are resumed from a checkpoint.
mod resume {
    mod command;
    mod refused;
    mod uninterrupted;
}

/// Ranks: processes that run a graph together.
mod ranks {
    #[cfg(unix)]
    mod apart;
    #[cfg(unix)]
    mod linked;
    #[cfg(all(unix, feature = "mpi"))]
    mod mpi;
    #[cfg(unix)]
    mod refused;
    #[cfg(unix)]
    mod train;
}

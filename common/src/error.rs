//! Errors before packets flow, and their exit codes. Once the loops run nothing
//! fails: outcomes are counters.

use thiserror::Error;

/// Every message is one line: what is wrong, why, and what to write instead. If
/// a file has several mistakes, each is a line.
#[derive(Debug, Error)]
pub enum Error {
    /// The arguments contradict each other, the lcores or the ports.
    #[error("{0}")]
    Usage(String),
    /// The machine lacks something: hugepages, a permission, a device that
    /// starts.
    #[error("{0}")]
    Setup(String),
    /// A file could not be written after the run.
    #[error("{0}")]
    Output(String),
    /// A packet was lost or counted twice. The report has the counters.
    #[error("CONSERVATION BROKEN: see the report")]
    Conservation,
    /// Some rounds of an experiment failed. The others were shown and written.
    #[error("{0}")]
    Incomplete(String),
}

impl Error {
    /// 1: a file could not be written after the run. 2: nothing was forwarded.
    /// 3: the counters contradict each other. 4: some rounds failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Setup(_) => 2,
            Error::Conservation => 3,
            Error::Output(_) => 1,
            Error::Incomplete(_) => 4,
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

//! How a container is: the last word of the process that ran its command, and whether that process is still there.

use serde::{Deserialize, Serialize};

/// The status of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// No command was run in it.
    #[default]
    Created,
    /// A command runs in it.
    Running,
    /// The command ended.
    Exited,
}

impl Status {
    /// Returns its name, as Docker has it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Exited => "exited",
        }
    }
}

/// The state of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Its status.
    pub status: Status,
    /// The process that supervises its command, as the host counts; 0 when none does.
    pub pid: u32,
    /// When its command started, RFC 3339.
    pub started: Option<String>,
    /// When its command ended, RFC 3339.
    pub finished: Option<String>,
    /// How its command ended: the exit code, or 128 and the number of a signal.
    pub exit_code: i32,
    /// Why the command could not be run, or what became of its supervisor.
    pub error: Option<String>,
    /// How its command was run.
    pub rung: Option<String>,
    /// The network that its command had: `host`, `none`, `own`, or `joined` for that of a container that it is linked with.
    pub network: Option<String>,
    /// Why that was the host's in place of one of its own.
    pub network_refused: Option<String>,
}

/// Returns the time now, RFC 3339.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

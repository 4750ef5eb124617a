//! Points at which a process can be made to abort, for chaos runs. Without the feature `failpoints` they do nothing, and
//! nothing can enable them.

/// A point between two steps that are not one transaction, by its name in the file, in the order in which an event reaches
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "failpoints", derive(strum::Display, strum::EnumIter))]
#[cfg_attr(feature = "failpoints", strum(serialize_all = "kebab-case"))]
pub enum Failpoint {
    AfterBegin,
    /// Everything is written and not committed: of a batch, a request or an outcome.
    BeforeCommit,
    /// It is committed, and the relay is not woken: its events are in the outbox only.
    AfterCommitBeforePublish,
    /// The relay has published, and no confirm has arrived.
    AfterPublishBeforeConfirm,
    /// The broker has confirmed, and the relay has not deleted.
    AfterConfirmBeforeDelete,
    /// A batch is committed, and not acknowledged.
    AfterCommitBeforeAck,
    AfterAck,
    /// A job is claimed, and its call not made.
    BeforeCall,
    /// A call is answered, and its outcome not recorded.
    AfterCall,
}

/// Aborts the process if this point is armed.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn hit(_: Failpoint) {}

#[cfg(feature = "failpoints")]
pub use armed::FILE_VARIABLE;
#[cfg(feature = "failpoints")]
pub(crate) use armed::hit;

#[cfg(feature = "failpoints")]
mod armed {
    use std::{env, fs, path::Path, process};

    use super::Failpoint;

    /// The environment variable with the path of the file that names the armed point. The file is read at every point, and
    /// removed by the process that aborts.
    pub const FILE_VARIABLE: &str = "FAILPOINT_FILE";

    /// Aborts the process, without any cleanup, if this point is armed.
    pub(crate) fn hit(point: Failpoint) {
        let Some(file) = env::var_os(FILE_VARIABLE) else { return };
        let file = Path::new(&file);
        if fs::read_to_string(file).is_ok_and(|armed| armed == point.to_string()) {
            // One abort for each arming, also when two tasks reach the point at once.
            if fs::remove_file(file).is_ok() {
                process::abort();
            }
        }
    }
}

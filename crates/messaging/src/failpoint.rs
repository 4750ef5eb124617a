//! Points at which a process can be made to abort, for chaos runs. Without the feature `failpoints` they do nothing, and
//! nothing can enable them.

/// A point between two steps that are not one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The transaction of a batch has begun.
    AfterBegin,
    /// Everything is written and not committed: of a batch, a request or an outcome.
    BeforeCommit,
    /// It is committed, and the relay is not woken: its events are in the outbox only.
    AfterCommit,
    /// The relay has published, and no confirm has arrived.
    AfterPublish,
    /// The broker has confirmed, and the relay has not deleted.
    AfterConfirm,
    /// A batch is committed, and not acknowledged.
    BeforeAck,
    /// A batch is acknowledged.
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
        if fs::read_to_string(file).is_ok_and(|armed| armed == point.name()) {
            // One abort for each arming, also when two tasks reach the point at once.
            if fs::remove_file(file).is_ok() {
                process::abort();
            }
        }
    }

    impl Failpoint {
        /// Every point, in the order in which an event reaches them.
        pub const ALL: [Self; 9] = [
            Self::AfterBegin,
            Self::BeforeCommit,
            Self::AfterCommit,
            Self::AfterPublish,
            Self::AfterConfirm,
            Self::BeforeAck,
            Self::AfterAck,
            Self::BeforeCall,
            Self::AfterCall,
        ];

        /// The name in the file.
        #[must_use]
        pub const fn name(self) -> &'static str {
            match self {
                Self::AfterBegin => "after-begin",
                Self::BeforeCommit => "before-commit",
                Self::AfterCommit => "after-commit-before-publish",
                Self::AfterPublish => "after-publish-before-confirm",
                Self::AfterConfirm => "after-confirm-before-delete",
                Self::BeforeAck => "after-commit-before-ack",
                Self::AfterAck => "after-ack",
                Self::BeforeCall => "before-call",
                Self::AfterCall => "after-call",
            }
        }
    }
}

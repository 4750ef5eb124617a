//! Places at which a process can be made to die, for chaos runs. Without the feature `chaos` none of them does
//! anything, and nothing can switch them on.

/// A place between two steps that are not one transaction, or just outside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// A batch's transaction has begun.
    AfterBegin,
    /// Everything is written, and not committed: of a batch, a request or an outcome.
    BeforeCommit,
    /// It is committed, and nobody was told: what it announces is in the outbox only.
    AfterCommit,
    /// The relay has published, and heard nothing of the broker.
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

/// Dies here when this point is the one that is armed.
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

    /// Names the file that names the point to die at. What it says is read at each point, and removed by the one
    /// that dies.
    pub const FILE_VARIABLE: &str = "FAILPOINT_FILE";

    /// Dies here, without any end, when this point is the one that is armed.
    pub(crate) fn hit(point: Failpoint) {
        let Some(file) = env::var_os(FILE_VARIABLE) else { return };
        let file = Path::new(&file);
        if fs::read_to_string(file).is_ok_and(|armed| armed == point.name()) {
            // One death for each arming, also when two tasks come by at once.
            if fs::remove_file(file).is_ok() {
                process::abort();
            }
        }
    }

    impl Failpoint {
        /// Every point, in the order in which an event passes them.
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

        /// As it is written into the file.
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

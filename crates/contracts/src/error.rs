//! Why a message cannot be read.

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not the attributes of an envelope.
    #[error("not a CloudEvents envelope")]
    Malformed(#[source] serde_json::Error),
    /// A version of `CloudEvents` other than 1.0.
    #[error("specversion {0:?} is not \"1.0\"")]
    SpecVersion(String),
    /// An event, or a version of one, that this build does not know. Another build may: it is not garbage.
    #[error("event type {0:?} is not supported by this build")]
    Unsupported(String),
    /// The data is not of the event's shape.
    #[error("the data is not that of {0}")]
    Data(String, #[source] serde_json::Error),
    /// An attribute contradicts the type or the data.
    #[error("{attribute} is {found:?} but should be {expected:?}")]
    Contradiction {
        attribute: &'static str,
        found: String,
        /// What the type or the data says.
        expected: String,
    },
}

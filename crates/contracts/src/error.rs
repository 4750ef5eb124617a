//! Why a message cannot be read, or an input not be taken.

use std::fmt;

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not the attributes of an envelope.
    #[error("not a CloudEvents envelope")]
    Malformed(#[source] serde_json::Error),
    #[error("specversion {0:?} is not \"1.0\"")]
    SpecVersion(String),
    /// An event, or a version of one, that this build does not know. Another build may: it is not garbage.
    #[error("event type {0:?} is not supported by this build")]
    Unsupported(String),
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

/// An input that is not valid in the state of its aggregate: a bug here or at the publisher, or a forged message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{aggregate} {id} is {state} and cannot take {input}")]
pub struct InvalidTransition {
    /// The kind of aggregate: `order`.
    pub aggregate: &'static str,
    pub id: String,
    /// The state in words: `cancelled`.
    pub state: String,
    /// The event's name without version, the command or the result of a call: `payment.captured`.
    pub input: String,
}

impl InvalidTransition {
    pub fn new(
        aggregate: &'static str,
        id: impl fmt::Display,
        state: impl fmt::Display,
        input: impl fmt::Display,
    ) -> Self {
        Self { aggregate, id: id.to_string(), state: state.to_string(), input: input.to_string() }
    }
}

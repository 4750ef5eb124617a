//! What every service says of an input that it cannot take.

use std::fmt;

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
    /// Writes id, state and input out.
    #[must_use]
    pub fn new(
        aggregate: &'static str,
        id: impl fmt::Display,
        state: impl fmt::Display,
        input: impl fmt::Display,
    ) -> Self {
        Self { aggregate, id: id.to_string(), state: state.to_string(), input: input.to_string() }
    }
}

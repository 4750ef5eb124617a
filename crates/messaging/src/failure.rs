//! Which failures to wait out, which to repeat, and which belong to a message.

use std::any::Any;

use runtime::database::{self, DbErrorKind};
use runtime::error::with_sources;

/// Why a handler could not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The database said no, or was not there.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// The event cannot happen in the state that the aggregate is in. The text names aggregate, state and event.
    #[error("impossible: {0}")]
    InvalidTransition(String),
    /// Anything else, a bug as a rule.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A failure by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Database or broker are away: hold the work, and go on when they are back. No attempt is counted.
    #[error("infrastructure: {0}")]
    Infrastructure(String),
    /// Transactions were in each other's way: the same again may well succeed. No attempt is counted.
    #[error("contention: {0}")]
    Contention(String),
    /// The message fails in its own right.
    #[error("{0}")]
    Message(String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = with_sources(&error);
        match database::error_kind(&error) {
            DbErrorKind::Unavailable => Self::Infrastructure(text),
            DbErrorKind::Contention => Self::Contention(text),
            DbErrorKind::Rejected => Self::Message(text),
        }
    }
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Database(error) => error.into(),
            HandlerError::InvalidTransition(_) => Self::Message(error.to_string()),
            HandlerError::Other(error) => Self::Message(format!("{error:#}")),
        }
    }
}

impl Failure {
    /// A failure before any message was looked at: whatever the database says, no message is at fault.
    pub(crate) fn not_of_a_message(error: sqlx::Error) -> Self {
        match error.into() {
            Self::Message(reason) => Self::Infrastructure(reason),
            other => other,
        }
    }

    /// A handler that panicked: a bug that shows with this message.
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Message(format!("panic: {}", text.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_a_message_is_looked_at_none_is_at_fault() {
        let failure = Failure::not_of_a_message(sqlx::Error::RowNotFound);
        assert!(matches!(failure, Failure::Infrastructure(_)), "{failure}");
    }

    #[test]
    fn a_panic_keeps_its_text() {
        let check = |panic: Box<dyn Any + Send>, text: &str| {
            assert_eq!(Failure::from_panic(panic.as_ref()).to_string(), text);
        };
        check(Box::new("plain"), "panic: plain");
        check(Box::new(String::from("made up")), "panic: made up");
        check(Box::new(7), "panic: ");
    }
}

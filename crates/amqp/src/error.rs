//! What goes wrong with the broker, sorted by what can be done about it.

use lapin::{
    ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
};
use runtime::error::with_sources;

/// An error of the broker, or of the connection to it.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It does not answer, or the connection ended. Waiting may help.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It does not know the user, the password or the vhost, or the user lacks a permission.
    #[error(
        "the broker refused access: {0}; check the user, password and vhost of the AMQP URL (AMQP_URL of a service), and that the broker loaded its definitions"
    )]
    Refused(String),
    /// It has an exchange or a queue of that name with other arguments.
    #[error(
        "the broker has a queue or exchange with other arguments: {0}; delete it once it is empty, then run `sagactl topology apply`"
    )]
    Mismatch(String),
    /// A queue, an exchange or a binding does not exist.
    #[error("missing on the broker: {0}; run `sagactl topology apply`")]
    Missing(String),
    /// A message is larger than it takes.
    #[error("the broker refused a message: {0}")]
    TooLarge(String),
    /// A URL of the configuration cannot be used. The text names it without its password.
    #[error("{0}")]
    InvalidUrl(String),
}

impl BrokerError {
    /// Whether waiting cannot help, only a person can. A service that has not worked yet stops on such an error; a
    /// service that has worked waits, since the broker may be about to start.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Mismatch(_))
    }
}

impl From<lapin::Error> for BrokerError {
    fn from(error: lapin::Error) -> Self {
        let text = with_sources(&error);
        let ErrorKind::ProtocolError(protocol) = error.kind() else {
            return Self::Unavailable(text);
        };
        let reply = protocol.get_message().to_string();
        match protocol.kind() {
            // The broker uses the same code for an unknown delivery tag and for a delivery that was held too long.
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if reply.contains("inequivalent") => {
                Self::Mismatch(reply)
            }
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if reply.contains("message size") => {
                Self::TooLarge(reply)
            }
            // The queue exists, and becomes available a moment after the broker itself.
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if reply.contains("down or inaccessible") => {
                Self::Unavailable(text)
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing(reply),
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Self::Refused(reply),
            _ => Self::Unavailable(text),
        }
    }
}

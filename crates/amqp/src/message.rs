//! Messages as they are published and as they are received.

use lapin::{BasicProperties, message::Delivery};

use crate::headers::{Headers, number_of};
use crate::topology::EVENTS_EXCHANGE;

/// A message to publish. It is persistent, `mandatory`, and identified by its id.
#[derive(Debug)]
pub struct OutgoingMessage<'a> {
    /// The id by which confirms and consumers tell messages apart.
    pub id: String,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub content_type: &'a str,
    pub body: &'a [u8],
}

impl OutgoingMessage<'_> {
    pub(crate) fn properties(&self) -> BasicProperties {
        const PERSISTENT: u8 = 2;
        BasicProperties::default()
            .with_message_id(self.id.as_str().into())
            .with_content_type(self.content_type.into())
            .with_delivery_mode(PERSISTENT)
    }
}

/// A message as the broker delivered it: its body is not decoded.
#[derive(Debug)]
pub struct RawMessage(pub(crate) Delivery);

impl RawMessage {
    pub fn body(&self) -> &[u8] {
        &self.0.data
    }

    pub fn id(&self) -> Option<String> {
        self.0.properties.message_id().as_ref().map(ToString::to_string)
    }

    pub fn content_type(&self) -> Option<&str> {
        self.0.properties.content_type().as_ref().map(|text| text.as_str())
    }

    pub fn headers(&self) -> Headers {
        Headers(self.0.properties.headers().clone().unwrap_or_default())
    }

    /// The routing key of an event, as it was published on the exchange of all events; none of a message that came by
    /// another way, such as a replay.
    pub fn event_key(&self) -> Option<&str> {
        (self.0.exchange.as_str() == EVENTS_EXCHANGE).then(|| self.0.routing_key.as_str())
    }

    /// The number by which its channel knows it.
    pub fn delivery_tag(&self) -> u64 {
        self.0.delivery_tag
    }

    pub fn stream_offset(&self) -> Option<i64> {
        self.number(STREAM_OFFSET)
    }

    /// How often a quorum queue delivered it before, without an acknowledgement.
    pub fn deliveries(&self) -> i64 {
        self.number(DELIVERY_COUNT).unwrap_or_default()
    }

    fn number(&self, header: &str) -> Option<i64> {
        number_of(self.0.properties.headers().as_ref()?, header)
    }
}

/// The header and the consumer's argument of that name.
pub(crate) const STREAM_OFFSET: &str = "x-stream-offset";
/// The header in which a quorum queue counts deliveries without an acknowledgement.
pub const DELIVERY_COUNT: &str = "x-delivery-count";

//! One sample of every event, the same on every call. `sagactl generate` writes them to `samples/`, where they must
//! go on decoding for ever.

use chrono::DateTime;
use uuid::Uuid;

use crate::envelope::TraceContext;
use crate::money::Money;
use crate::table::Envelope;
use crate::table::{self, Event};
use crate::value::{
    CancelReason, Customer, InvalidValue, NotificationKind, OrderId, OrderLine, Shortage, Sku, StockLine,
};

/// One envelope of every event, in the order of the table.
pub fn samples() -> Vec<Envelope> {
    let mut events = order_events().unwrap_or_default();
    events.extend(product_events().unwrap_or_default());
    events.sort_by_key(Event::event_type);
    (0_i64..).zip(events).map(|(number, event)| envelope(number, event)).collect()
}

fn envelope(number: i64, event: Event) -> Envelope {
    let count = u128::from(number.unsigned_abs());
    Envelope {
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | count),
        time: DateTime::from_timestamp_millis(1_767_225_600_000 + number * 7).unwrap_or_default(),
        causation_id: (number > 1).then(|| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
        aggregate_version: number + 1,
        trace: TraceContext {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            tracestate: None,
        },
        event,
    }
}

fn order_events() -> Result<Vec<Event>, InvalidValue> {
    let order_id = OrderId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0aaa));
    let payment_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0bbb);
    let notification_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0ccc);
    let customer = Customer { id: "customer-1".parse()?, email: "ada@example.com".parse()? };
    let price = Money { amount_minor: 1250, currency: "EUR".parse()? };
    let total = Money { amount_minor: 2500, currency: "EUR".parse()? };
    let order_lines =
        vec![OrderLine { sku: "ESPRESSO-1KG".parse()?, quantity: 2.try_into()?, unit_price: price }];
    let lines = vec![StockLine { sku: "ESPRESSO-1KG".parse()?, quantity: 2.try_into()? }];
    let shortages = vec![Shortage { sku: "ESPRESSO-1KG".parse()?, requested: 2.try_into()?, available: 1 }];
    Ok(vec![
        table::OrderPlaced {
            order_id,
            customer: customer.clone(),
            lines: order_lines.clone(),
            total: total.clone(),
            payment_method: "pm_card_visa".parse()?,
        }
        .into(),
        table::StockReserved { order_id, lines: lines.clone() }.into(),
        table::StockRejected { order_id, shortages }.into(),
        table::PaymentAuthorized { order_id, payment_id, amount: total.clone() }.into(),
        table::PaymentDeclined { order_id, payment_id, reason: "card_declined".to_owned() }.into(),
        table::OrderConfirmed {
            order_id,
            customer: customer.clone(),
            lines: order_lines.clone(),
            total: total.clone(),
        }
        .into(),
        table::OrderCancelled { order_id, customer: customer.clone(), reason: CancelReason::OutOfStock }
            .into(),
        table::StockCommitted { order_id, lines: lines.clone() }.into(),
        table::StockReleased { order_id, lines }.into(),
        table::PaymentCaptured { order_id, payment_id, amount: total.clone() }.into(),
        table::PaymentCaptureFailed { order_id, payment_id, reason: "capture_failed".to_owned() }.into(),
        table::PaymentVoided { order_id, payment_id }.into(),
        table::PaymentRefunded { order_id, payment_id, amount: total.clone() }.into(),
        table::OrderCompleted { order_id, customer, lines: order_lines, total }.into(),
        table::NotificationSent { order_id, notification_id, kind: NotificationKind::Confirmed }.into(),
        table::NotificationFailed {
            order_id,
            notification_id,
            kind: NotificationKind::Refunded,
            reason: "550 no such mailbox".to_owned(),
        }
        .into(),
    ])
}

fn product_events() -> Result<Vec<Event>, InvalidValue> {
    let sku: Sku = "ESPRESSO-1KG".parse()?;
    let (name, price) =
        ("Espresso beans, 1 kg".to_owned(), Money { amount_minor: 1250, currency: "EUR".parse()? });
    Ok(vec![
        table::ProductListed { sku: sku.clone(), name, price }.into(),
        table::ProductDelisted { sku }.into(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::EventType;

    #[test]
    fn there_is_one_sample_of_every_event() {
        let sampled: Vec<_> = samples().iter().map(|envelope| envelope.event.event_type()).collect();
        assert_eq!(sampled, EventType::ALL);
    }
}

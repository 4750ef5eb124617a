//! What the mails say: plain text, made from the event alone, in lines short enough to travel as they are written
//! (a mail wraps beyond 76 characters).

use contracts::{
    CancelReason, Event, NotificationKind, OrderCancelled, OrderConfirmed, OrderId, PaymentRefunded,
};

pub fn subject(kind: NotificationKind, order_id: OrderId) -> String {
    match kind {
        NotificationKind::Confirmed => format!("Your order {order_id} is confirmed"),
        NotificationKind::Cancelled => format!("Your order {order_id} is cancelled"),
        NotificationKind::Refunded => format!("Your money for order {order_id} is on its way back"),
        NotificationKind::Other => format!("About your order {order_id}"),
    }
}

/// The text of the mail that an event makes; empty for an event that makes none.
pub fn body(event: &Event) -> String {
    match event {
        Event::OrderConfirmed(order) => confirmed(order),
        Event::OrderCancelled(order) => cancelled(order),
        Event::PaymentRefunded(payment) => refunded(payment),
        _ => String::new(),
    }
}

fn confirmed(order: &OrderConfirmed) -> String {
    let lines: String =
        order.lines.iter().map(|line| format!("  {} x {}\n", line.quantity.get(), line.sku)).collect();
    format!("Your order {} is confirmed.\n\n{lines}\nTotal: {}\n\nThank you!\n", order.order_id, order.total)
}

fn cancelled(order: &OrderCancelled) -> String {
    let why = match order.reason {
        CancelReason::OutOfStock => "not everything that you ordered is in stock",
        CancelReason::PaymentDeclined => "your card was declined",
        CancelReason::TimedOut => "it could not be processed in time",
        CancelReason::CustomerRequest => "you asked us to cancel it",
        CancelReason::PaymentFailed => "your card could not be charged",
        CancelReason::Other => "it cannot be delivered",
    };
    format!(
        "Your order {} is cancelled:\n{why}.\n\nYou pay nothing. If you were charged already, the money comes back.\n",
        order.order_id
    )
}

fn refunded(payment: &PaymentRefunded) -> String {
    format!("We gave back {} for your order {}.\n", payment.amount, payment.order_id)
}

#[cfg(test)]
mod tests {
    use contracts::Money;

    use super::*;

    #[test]
    fn a_confirmation_names_the_order_its_lines_and_its_total() {
        let order = contracts::samples::samples().into_iter().map(|envelope| envelope.event);
        let event =
            order.into_iter().find(|event| matches!(event, Event::OrderConfirmed(_))).expect("sampled");
        assert_eq!(
            body(&event),
            "Your order 01900000-0000-7000-8000-000000000aaa is confirmed.\n\n  \
             2 x ESPRESSO-1KG\n\nTotal: 25.00 EUR\n\nThank you!\n"
        );
    }

    #[test]
    fn an_amount_has_the_digits_of_its_currency() {
        let order_id = "01900000-0000-7000-8000-000000000aaa".parse().map(OrderId).expect("an id");
        let amount = Money { amount_minor: 12345, currency: "CLF".parse().expect("a currency") };
        let text = body(&PaymentRefunded { order_id, payment_id: order_id.0, amount }.into());
        assert_eq!(text, format!("We gave back 1.2345 CLF for your order {order_id}.\n"));
    }
}

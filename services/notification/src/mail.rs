//! What the mails say: plain text, made from the event alone, in lines short enough to travel as they are written
//! (a mail wraps beyond 76 characters).

use contracts::{
    CancelReason, Event, Money, NotificationKind, OrderCancelled, OrderConfirmed, OrderId, PaymentRefunded,
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
    format!(
        "Your order {} is confirmed.\n\n{lines}\nTotal: {}\n\nThank you!\n",
        order.order_id,
        amount(&order.total)
    )
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
    format!("We gave back {} for your order {}.\n", amount(&payment.amount), payment.order_id)
}

/// An amount for people: `12.50 EUR`.
fn amount(money: &Money) -> String {
    let digits = money.currency.minor_digits();
    let sign = if money.amount_minor < 0 { "-" } else { "" };
    let scale = 10_u64.pow(digits);
    let (whole, rest) =
        (money.amount_minor.unsigned_abs() / scale, money.amount_minor.unsigned_abs() % scale);
    match digits {
        0 => format!("{sign}{whole} {}", money.currency),
        _ => format!("{sign}{whole}.{rest:0width$} {}", money.currency, width = digits as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let check = |amount_minor, currency: &str, expected: &str| {
            let money = Money { amount_minor, currency: currency.parse().expect(currency) };
            assert_eq!(amount(&money), expected);
        };
        check(2500, "EUR", "25.00 EUR");
        check(5, "EUR", "0.05 EUR");
        check(-1205, "USD", "-12.05 USD");
        check(500, "JPY", "500 JPY");
        check(1001, "KWD", "1.001 KWD");
        check(i64::MIN, "EUR", "-92233720368547758.08 EUR");
    }

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
}

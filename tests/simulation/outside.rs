//! The outside world: the card processor, with the books of the shipped one, and a mail server.

use chrono::{DateTime, Utc};
use contracts::{NotificationKind, OrderId};
use payment::domain::Answer;
use payment::processor::{Command, Request};
use payment_provider::domain as provider;
use provider::{Books, NewAuthorization, Operation, Sums};
use uuid::Uuid;

use crate::invariants::{Checked, Violation};

/// How long the card that is down stays silent.
const DOWN: std::time::Duration = std::time::Duration::from_secs(45);

/// The card processor and the mail server.
#[derive(Default)]
pub(crate) struct Outside {
    books: Books,
    /// Every mail that was taken, repeats included: its Message-ID and what it is about.
    pub(crate) mails: Vec<(Uuid, OrderId, NotificationKind)>,
}

/// How a call to the outside goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    /// It is answered.
    Answered,
    /// It times out with nothing done.
    LostOnTheWay,
    /// It takes effect, and times out.
    LostOnTheWayBack,
}

impl Outside {
    /// Makes a call to the card processor; no answer means that the effect is not known.
    pub(crate) fn call(
        &mut self,
        (request, key): (&Request, &str),
        now: DateTime<Utc>,
        fresh_id: Uuid,
        luck: Luck,
    ) -> Checked<Option<Answer>> {
        if luck == Luck::LostOnTheWay {
            return Ok(None);
        }
        let refused = |refusal: provider::Refusal| {
            let told = format!("{} is refused: {refusal}", request.action());
            Violation::new("the processor refuses no call", told)
        };
        let asked = asked(request);
        let decision = self.books.decide(key, &asked, fresh_id, now, DOWN).map_err(refused)?;
        if let Some(entry) = decision.entry {
            self.books.apply(entry);
        }
        match decision.reply {
            provider::Reply::Outcome(answer) if luck == Luck::Answered => Ok(Some(read(&asked, answer))),
            provider::Reply::Outcome(_) | provider::Reply::Silence => Ok(None),
        }
    }

    /// What the processor really held, took and gave back for an order.
    pub(crate) fn books_of(&self, order_id: OrderId) -> Sums {
        let reference = order_id.to_string().try_into().expect("a reference");
        self.books.report(Some(&reference)).items.first().map_or_else(Sums::default, |item| item.sums)
    }
}

/// The call as the processor's interface has it.
fn asked(request: &Request) -> provider::Request {
    let change = |authorization_id: &str, operation| provider::Request::Change {
        id: authorization_id.parse().expect("an id that the processor gave"),
        operation,
    };
    match &request.command {
        Command::Authorize { order_id, amount, method } => provider::Request::Authorize(NewAuthorization {
            merchant_reference: order_id.to_string().try_into().expect("a reference"),
            amount_minor: amount.amount_minor.try_into().expect("an amount"),
            currency: amount.currency.to_string().try_into().expect("a currency"),
            payment_method: method.to_string().into(),
        }),
        Command::Capture { authorization_id } => change(authorization_id, Operation::Capture),
        Command::Void { authorization_id } => change(authorization_id, Operation::Void),
        Command::Refund { authorization_id } => change(authorization_id, Operation::Refund),
    }
}

/// The processor's answer as the payment service reads it.
fn read(asked: &provider::Request, answer: provider::Outcome) -> Answer {
    match (asked, answer) {
        (provider::Request::Authorize(_), provider::Outcome::Approved(authorization)) => {
            Answer::Approved { authorization_id: authorization.id.to_string() }
        }
        (provider::Request::Authorize(_), provider::Outcome::Declined(decline)) => {
            Answer::Declined { reason: decline.to_string() }
        }
        (provider::Request::Change { .. }, provider::Outcome::Declined(decline)) => {
            Answer::CaptureFailed { reason: decline.to_string() }
        }
        (provider::Request::Change { operation, .. }, provider::Outcome::Approved(_)) => match operation {
            Operation::Capture => Answer::Captured,
            Operation::Void => Answer::Voided,
            Operation::Refund => Answer::Refunded,
        },
    }
}

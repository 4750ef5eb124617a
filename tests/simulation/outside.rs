//! The outside world: the card processor, with the books of the shipped one, and a mail server.

use chrono::{DateTime, Utc};
use contracts::{NotificationKind, OrderId};
use payment::processor::{Command, Refused, Reply, Request};
use payment_provider::domain as provider;
use provider::{Amount, Books, NewAuthorization, Operation, Sums};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::system::{AnswerReader, LookupReader};

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
    /// It is refused for good, with nothing done.
    Refused,
    /// Our access is denied for now.
    Denied,
    /// The hold that it is about has expired before.
    Expired,
    /// Somebody has taken the money at the processor's dashboard before.
    CapturedByHand,
    /// Somebody has given a part of the money back at the processor's dashboard before.
    PartRefundedByHand,
    /// It takes effect, and the answer shows another amount.
    Misstated,
    /// It takes effect, and the answer shows another currency.
    Miscurrencied,
    /// A proxy answers in the processor's place: 200, and no authorization.
    Intercepted,
}

impl Luck {
    pub(crate) const MISHAPS: &[Self] = &[
        Self::LostOnTheWay,
        Self::LostOnTheWayBack,
        Self::Refused,
        Self::Denied,
        Self::Expired,
        Self::CapturedByHand,
        Self::PartRefundedByHand,
        Self::Misstated,
        Self::Miscurrencied,
        Self::Intercepted,
    ];
}

impl Outside {
    /// Makes a call to the card processor, as the payment service reads its answer.
    pub(crate) fn call(
        &mut self,
        answer: AnswerReader,
        (request, key): (&Request, &str),
        now: DateTime<Utc>,
        fresh_id: Uuid,
        luck: Luck,
    ) -> Result<Reply, Refused> {
        let read = |status, body: &Value| answer(request, status, body.to_string().as_bytes());
        let silence = || Ok(Reply::Trouble("no answer in time".to_owned()));
        let refused = || json!({ "title": "Conflict", "code": "refused" });
        match luck {
            Luck::LostOnTheWay => return silence(),
            Luck::Refused => return read(StatusCode::CONFLICT, &refused()),
            Luck::Denied => return read(StatusCode::UNAUTHORIZED, &json!({ "title": "No" })),
            Luck::Intercepted => return answer(request, StatusCode::OK, b"<html>Please log in</html>"),
            Luck::Expired => self.by_hand(request, Operation::Expire, None, now),
            Luck::CapturedByHand => self.by_hand(request, Operation::Capture, None, now),
            Luck::PartRefundedByHand if matches!(request.command, Command::Refund { .. }) => {
                let part = Amount::try_from(1).expect("an amount");
                self.by_hand(request, Operation::Refund, Some(part), now);
            }
            _ => {}
        }
        let outcome = match self.process(key, &asked(request), fresh_id, now) {
            Ok(provider::Reply::Outcome(outcome)) if luck != Luck::LostOnTheWayBack => outcome,
            Ok(_) => return silence(),
            Err(refusal) => {
                let body = json!({ "title": refusal.to_string(), "code": "refused" });
                return read(status_of(&refusal), &body);
            }
        };
        match outcome {
            provider::Outcome::Approved(authorization) => {
                let mut body = json!(authorization);
                match luck {
                    Luck::Misstated => body["amount_minor"] = json!(1),
                    Luck::Miscurrencied => body["currency"] = json!("USD"),
                    _ => {}
                }
                read(StatusCode::OK, &body)
            }
            provider::Outcome::Declined(decline) => {
                read(StatusCode::PAYMENT_REQUIRED, &json!({ "code": decline.to_string() }))
            }
        }
    }

    /// Asks the processor what became of a call, `why` it is asked.
    pub(crate) fn look_up(&self, found: LookupReader, request: &Request, why: &str) -> Reply {
        let (status, body) = match authorization_id(request) {
            None => {
                (StatusCode::OK, json!({ "items": self.books.of_reference(&reference(request.order_id)) }))
            }
            Some(id) => match self.books.authorization(id) {
                Some(authorization) => (StatusCode::OK, json!(authorization)),
                None => (StatusCode::NOT_FOUND, json!({ "title": "Not found" })),
            },
        };
        found(request, why, status, body.to_string().as_bytes())
    }

    /// What the processor really held, took and gave back for an order.
    pub(crate) fn books_of(&self, order_id: OrderId) -> Sums {
        self.books
            .report(Some(&reference(order_id)))
            .items
            .first()
            .map_or_else(Sums::default, |item| item.sums)
    }

    /// A person does at the processor's dashboard what the call was to do, where it is still possible.
    pub(crate) fn settle_by_hand(&mut self, request: &Request, now: DateTime<Utc>, fresh_id: Uuid) {
        if let Command::Void { .. } | Command::Refund { .. } = request.command {
            let _ = self.process(&format!("by hand {fresh_id}"), &asked(request), fresh_id, now);
        }
    }

    /// What the processor's dashboard shows of the authorization that a call is about: its id and what it has become.
    pub(crate) fn shown(&self, request: &Request) -> Option<(String, provider::Status)> {
        let found = match authorization_id(request) {
            None => self.books.of_reference(&reference(request.order_id)).into_iter().next(),
            Some(id) => self.books.authorization(id),
        };
        found.map(|authorization| (authorization.id.to_string(), authorization.status))
    }

    /// Something happens to the authorization that a call is about, if it can.
    fn by_hand(
        &mut self,
        request: &Request,
        operation: Operation,
        amount: Option<Amount>,
        now: DateTime<Utc>,
    ) {
        let Some(id) = authorization_id(request) else { return };
        let change = provider::Request::Change { id, operation, amount };
        let _ = self.process(&format!("{operation:?} {id}"), &change, id, now);
    }

    /// What the processor makes of a call; one that it refuses changes nothing.
    fn process(
        &mut self,
        key: &str,
        asked: &provider::Request,
        fresh_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<provider::Reply, provider::Refusal> {
        let decision = self.books.decide(key, asked, fresh_id, now, DOWN)?;
        if let Some(entry) = decision.entry {
            self.books.apply(entry);
        }
        Ok(decision.reply)
    }
}

fn status_of(refusal: &provider::Refusal) -> StatusCode {
    match refusal {
        provider::Refusal::Unknown => StatusCode::NOT_FOUND,
        provider::Refusal::NotAllowed(_) => StatusCode::CONFLICT,
        provider::Refusal::KeyReused | provider::Refusal::Amount => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn reference(order_id: OrderId) -> provider::MerchantReference {
    order_id.to_string().try_into().expect("a reference")
}

/// The authorization that a call is about, where it is about one that exists.
fn authorization_id(request: &Request) -> Option<Uuid> {
    request.authorization_id().map(|id| id.parse().expect("an id that the processor gave"))
}

/// The call as the processor's interface has it.
fn asked(request: &Request) -> provider::Request {
    let amount = request.to_move().amount_minor.try_into().expect("an amount");
    let change = |operation| provider::Request::Change {
        id: authorization_id(request).expect("an authorization to change"),
        operation,
        amount: (operation != Operation::Void).then_some(amount),
    };
    match &request.command {
        Command::Authorize { method } => provider::Request::Authorize(NewAuthorization {
            merchant_reference: reference(request.order_id),
            amount_minor: amount,
            currency: request.amount.currency.to_string().try_into().expect("a currency"),
            payment_method: method.to_string().into(),
        }),
        Command::Capture { .. } => change(Operation::Capture),
        Command::Void { .. } => change(Operation::Void),
        Command::Refund { .. } => change(Operation::Refund),
    }
}

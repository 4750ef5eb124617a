//! The outside world: the card processor, with the books of the shipped one, and a mail server.

use chrono::{DateTime, Utc};
use contracts::{NotificationKind, OrderId};
use payment::processor::{Command, Reply, Request};
use payment_provider::domain as provider;
use provider::{Books, NewAuthorization, Operation, Sums};
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
    ) -> Reply {
        let read = |status, body: &Value| answer(request, status, body.to_string().as_bytes());
        let silence = || Reply::Trouble("no answer in time".to_owned());
        let refused = || json!({ "title": "Conflict", "code": "refused" });
        match luck {
            Luck::LostOnTheWay => return silence(),
            Luck::Refused => return read(StatusCode::CONFLICT, &refused()),
            Luck::Denied => return read(StatusCode::UNAUTHORIZED, &json!({ "title": "No" })),
            Luck::Intercepted => return answer(request, StatusCode::OK, b"<html>Please log in</html>"),
            Luck::Expired => self.by_hand(request, Operation::Expire, now),
            Luck::CapturedByHand => self.by_hand(request, Operation::Capture, now),
            _ => {}
        }
        let asked = asked(request);
        let decision = match self.books.decide(key, &asked, fresh_id, now, DOWN) {
            Ok(decision) => decision,
            Err(refusal) => {
                let body = json!({ "title": refusal.to_string(), "code": "refused" });
                return read(status_of(&refusal), &body);
            }
        };
        if let Some(entry) = decision.entry {
            self.books.apply(entry);
        }
        let outcome = match decision.reply {
            provider::Reply::Outcome(outcome) if luck != Luck::LostOnTheWayBack => outcome,
            _ => return silence(),
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
        let (status, body) = match request.authorization_id() {
            None => {
                (StatusCode::OK, json!({ "items": self.books.of_reference(&reference(request.order_id)) }))
            }
            Some(id) => match self.books.authorization(id.parse().expect("an id that the processor gave")) {
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
        let key = format!("by hand {fresh_id}");
        if let (Command::Void { .. } | Command::Refund { .. }, Ok(decision)) =
            (&request.command, self.books.decide(&key, &asked(request), fresh_id, now, DOWN))
            && let Some(entry) = decision.entry
        {
            self.books.apply(entry);
        }
    }

    /// What the processor's dashboard shows of the authorization that a call is about: its id and what it has become.
    pub(crate) fn shown(&self, request: &Request) -> Option<(String, provider::Status)> {
        let found = match request.authorization_id() {
            None => self.books.of_reference(&reference(request.order_id)).into_iter().next(),
            Some(id) => self.books.authorization(id.parse().expect("an id that the processor gave")),
        };
        found.map(|authorization| (authorization.id.to_string(), authorization.status))
    }

    /// Something happens to the authorization that a call is about, if it can.
    fn by_hand(&mut self, request: &Request, operation: Operation, now: DateTime<Utc>) {
        let Some(id) = request.authorization_id() else { return };
        let id = id.parse().expect("an id that the processor gave");
        let change = provider::Request::Change { id, operation, amount: None };
        if let Ok(decision) = self.books.decide(&format!("{operation:?} {id}"), &change, id, now, DOWN)
            && let Some(entry) = decision.entry
        {
            self.books.apply(entry);
        }
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

/// The call as the processor's interface has it.
fn asked(request: &Request) -> provider::Request {
    let amount = request.amount.amount_minor.try_into().expect("an amount");
    let change = |authorization_id: &str, operation| provider::Request::Change {
        id: authorization_id.parse().expect("an id that the processor gave"),
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
        Command::Capture { authorization_id } => change(authorization_id, Operation::Capture),
        Command::Void { authorization_id } => change(authorization_id, Operation::Void),
        Command::Refund { authorization_id } => change(authorization_id, Operation::Refund),
    }
}

//! Hands mails to the mail server, from the durable job queue.
//!
//! A mail can be sent twice if the service dies between the server's answer and its record, or if its database is
//! unavailable for longer than the job's lease: a mail server joins no transaction. Both copies have the same
//! Message-ID, by which many mail programs show only one.

use std::time::Duration;

use anyhow::Context;
use contracts::OrderId;
use lettre::{
    Message,
    message::{Mailbox, header::ContentType},
    transport::smtp::{self, SMTP_PORT},
};
use messaging::{
    CallResult, Job, ServiceHost, Worker,
    jobs::{JobOutcome, JobRunner, JobSettings, Resolution},
};
use runtime::clock;
use runtime::database::{ANSWER_TIMEOUT, answer};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    config::SmtpConfig,
    domain::Input,
    mail,
    mail_server::{MailServer, SendError},
    reactions::{OrderInput, QUEUE, Reactions},
    store::{self, Outgoing},
};

/// The server wants a login or TLS (RFC 4954, section 6; RFC 3207, section 4): permanent, but not about the mail.
const ACCESS_REFUSED: u16 = 530;
/// The mailbox is not available now (RFC 5321, section 4.2.3), or the recipient is greylisted (RFC 6647, section 2.1):
/// about the recipient, where another 4xx is about the server.
const DEFERRED: [u16; 2] = [450, 451];
/// A mail that could not be sent for so long is not sent any more: its news is old.
const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
const TOO_LATE: &str = "the mail server did not answer in time";
const UNREACHABLE: &str = "the mail server cannot be reached";
/// The mail server's name in logs and metrics.
const MAIL_SERVER: &str = "mail-server";
/// The time of a call beside the mail server: to ask the database what is to be sent, and to note that it was not.
const LEASE_MARGIN: Duration = ANSWER_TIMEOUT.saturating_mul(2);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(60);

pub(crate) fn runner(config: &SmtpConfig, host: &ServiceHost) -> JobRunner<Mailer> {
    let settings = JobSettings {
        queue: QUEUE,
        concurrency: config.smtp_connections as usize,
        lease: config.smtp_timeout + LEASE_MARGIN,
        backoff_base: BACKOFF_BASE,
        backoff_cap: BACKOFF_CAP,
        dependency: MAIL_SERVER,
        breaker: config.breaker.clone(),
    };
    let (pool, unit_of_work, health) = (host.pool.clone(), host.unit_of_work.clone(), host.health.clone());
    let url = &config.smtp_url;
    let server = MailServer::new(url.host_str().unwrap_or_default(), url.port().unwrap_or(SMTP_PORT));
    let (from, timeout) = (config.mail_from.clone(), config.smtp_timeout);
    let worker = Mailer { pool: pool.clone(), server, from, timeout };
    JobRunner { settings, pool, unit_of_work, health, worker: worker.into() }
}

pub(crate) struct Mailer {
    pool: PgPool,
    server: MailServer,
    from: Mailbox,
    timeout: Duration,
}

impl Mailer {
    async fn send(&self, job: &Job, outgoing: Outgoing) -> (JobOutcome<Option<Input>>, CallResult) {
        let (id, attempts) = (job.id, job.attempts);
        let message = match compose(&self.from, id, outgoing) {
            Ok(message) => message,
            Err(error) => return (refused(job, format!("{error:#}")), CallResult::Ignored),
        };
        let no_answer = |reason: &str| (JobOutcome::Retry(reason.to_owned()), CallResult::Failure);
        match tokio::time::timeout(self.timeout, self.server.send(&message)).await {
            Ok(Ok(())) => {
                let accepted = Input::Accepted { id, attempts, at: clock::now() };
                (JobOutcome::Completed(Some(accepted)), CallResult::Success)
            }
            Ok(Err(SendError::Smtp(error))) => {
                (judge(job, &error), call_result(error.status().map(u16::from)))
            }
            Ok(Err(SendError::Unreachable(_))) => no_answer(UNREACHABLE),
            Err(_) => no_answer(TOO_LATE),
        }
    }
}

impl Worker for Mailer {
    /// `None` when the mail was not to be sent any more.
    type Outcome = Option<Input>;
    type Reaction = Reactions;

    async fn call(&self, job: &Job) -> (JobOutcome<Option<Input>>, CallResult) {
        if job.age >= EXPIRY {
            return (refused(job, "not sent within a day".to_owned()), CallResult::Ignored);
        }
        // Asked at the last moment, so that a cancel that was consumed since the job was written still counts.
        let (call, result) = match answer(ANSWER_TIMEOUT, store::outgoing(&self.pool, job.id)).await {
            Ok(Some(outgoing)) => self.send(job, outgoing).await,
            Ok(None) => (JobOutcome::Completed(None), CallResult::Ignored),
            Err(error) => return (JobOutcome::Retry(error.to_string()), CallResult::Ignored),
        };
        if let JobOutcome::Retry(reason) = &call {
            let noted = store::note_attempt(&self.pool, job.id, job.attempts, reason);
            if let Err(error) = answer(ANSWER_TIMEOUT, noted).await {
                tracing::warn!(%error, notification_id = %job.id, "an attempt is not shown");
            }
        }
        (call, result)
    }

    fn resolve(&self, job: &Job, resolution: &Resolution) -> Result<Option<Input>, String> {
        let (id, attempts) = (job.id, job.attempts);
        match resolution.outcome.as_str() {
            "sent" => Ok(Some(Input::Accepted { id, attempts, at: clock::now() })),
            "failed" => Ok(Some(Input::Refused { id, attempts, reason: resolution.reason.clone() })),
            outcome => Err(format!("a mail cannot end as {outcome}: it is sent or failed")),
        }
    }

    fn input(job: &Job, result: &Option<Input>) -> Option<OrderInput> {
        let input = result.clone()?;
        Some(OrderInput { order_id: OrderId(job.key), input, id: job.id, context: job.origin.clone() })
    }

    fn reaction(&self) -> &Reactions {
        &Reactions
    }
}

fn refused(job: &Job, reason: String) -> JobOutcome<Option<Input>> {
    JobOutcome::Completed(Some(Input::Refused { id: job.id, attempts: job.attempts, reason }))
}

/// The mail of a notification: its Message-ID is the notification's id at our domain.
fn compose(from: &Mailbox, id: Uuid, outgoing: Outgoing) -> anyhow::Result<Message> {
    let recipient = outgoing.recipient.parse().context("the mail address cannot be written to")?;
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, recipient))
        .subject(mail::subject(outgoing.kind, outgoing.order_id))
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .header(ContentType::TEXT_PLAIN)
        .body(outgoing.body)?;
    Ok(message)
}

/// What an error means for the job: a refusal of this mail is definite, anything else may pass. The server's own text may
/// repeat the recipient's address, so it is kept with the notification and never logged.
fn judge(job: &Job, error: &smtp::Error) -> JobOutcome<Option<Input>> {
    match error.status() {
        Some(code) if error.is_permanent() && u16::from(code) != ACCESS_REFUSED => {
            refused(job, error.to_string())
        }
        Some(code) => JobOutcome::Retry(format!("the mail server refused for now: {code}")),
        None if error.is_timeout() => JobOutcome::Retry(TOO_LATE.to_owned()),
        None => JobOutcome::Retry(UNREACHABLE.to_owned()),
    }
}

/// What the server's code, `None` where it gave none, tells about the server itself. A server that refuses for good, a
/// mail or our access, is available.
fn call_result(code: Option<u16>) -> CallResult {
    match code {
        None => CallResult::Failure,
        Some(code) if DEFERRED.contains(&code) => CallResult::Success,
        Some(400..=499) => CallResult::Failure,
        Some(_) => CallResult::Success,
    }
}

#[cfg(test)]
mod tests {
    use contracts::NotificationKind;

    use super::*;

    #[test]
    fn only_errors_of_the_server_itself_are_failures() {
        for code in [None, Some(421), Some(452), Some(454)] {
            assert_eq!(call_result(code), CallResult::Failure, "{code:?}");
        }
        for code in [450, 451, 530, 550, 552, 554] {
            assert_eq!(call_result(Some(code)), CallResult::Success, "{code}");
        }
    }

    fn outgoing(recipient: &str) -> Outgoing {
        Outgoing {
            order_id: OrderId(Uuid::from_u128(1)),
            kind: NotificationKind::Cancelled,
            recipient: recipient.to_owned(),
            body: "Your order is cancelled.\n".to_owned(),
        }
    }

    #[test]
    fn message_id_is_the_notification_id_at_our_domain() {
        let from: Mailbox = "Order Saga <shop@order-saga.example>".parse().expect("a mailbox");
        let mail = compose(&from, Uuid::from_u128(7), outgoing("ada@example.com")).expect("composed");
        let text = String::from_utf8(mail.formatted()).expect("ASCII");
        for line in [
            "Message-ID: <00000000-0000-0000-0000-000000000007@order-saga.example>",
            "To: ada@example.com",
            "Subject: Your order 00000000-0000-0000-0000-000000000001 is cancelled",
            "Content-Type: text/plain; charset=utf-8",
            "Your order is cancelled.",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn address_that_no_mail_can_carry_is_an_error() {
        let from: Mailbox = "shop@order-saga.example".parse().expect("a mailbox");
        assert!(compose(&from, Uuid::from_u128(7), outgoing("nowhere")).is_err());
    }
}

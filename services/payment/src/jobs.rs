//! The calls to the card processor, from a durable queue: made with no transaction open, made again until the
//! answer is definite, and recorded by the same [`react`](crate::domain::react) that takes the events.

use std::time::Instant;

use contracts::OrderId;
use messaging::{CallResult, Effects, HandlerError, Job, JobOutcome, Worker};
use opentelemetry::{KeyValue, global, metrics::Histogram};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::domain::{Answer, Input};
use crate::processor::{Processor, Reply, Request};
use crate::reactions::{Heard, apply};

/// The queue of the calls.
pub(crate) const CALLS: &str = "payment.calls";
/// Whom they go to, by its name in logs and metrics.
pub(crate) const PROCESSOR: &str = "card-processor";

/// The boundaries that the semantic conventions advise for HTTP durations, in seconds.
const DURATION_BOUNDARIES: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The worker of the queue.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    processor: Processor,
    duration: Histogram<f64>,
}

impl Calls {
    /// A worker that calls this processor.
    #[must_use]
    pub(crate) fn new(processor: Processor) -> Self {
        let duration = global::meter("payment")
            .f64_histogram("payment.call.duration")
            .with_unit("s")
            .with_description("Duration of calls to the card processor; alarm on reply=refused")
            .with_boundaries(DURATION_BOUNDARIES.to_vec())
            .build();
        Self { processor, duration }
    }
}

impl Worker for Calls {
    type Event = contracts::Event;

    type Outcome = Answer;

    async fn call(&self, job: &Job) -> (JobOutcome<Answer>, CallResult) {
        let request = match Request::deserialize(&job.payload) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(job_id = %job.id, %error, "the job is no call to the processor: it needs a person");
                return (JobOutcome::Retry(error.to_string()), CallResult::Ignored);
            }
        };
        let start = Instant::now();
        let reply = self.processor.call(&request, &job.origin().trace).await;
        let attributes =
            [KeyValue::new("action", request.action().as_str()), KeyValue::new("reply", name_of(&reply))];
        self.duration.record(start.elapsed().as_secs_f64(), &attributes);
        let sign = sign_of(&reply);
        (settle(job, &request, reply), sign)
    }

    async fn record(
        &self,
        conn: &mut PgConnection,
        outcomes: &[(Job, Answer)],
    ) -> Result<Effects, HandlerError> {
        let heard = outcomes.iter().map(|(job, answer)| Heard {
            order_id: OrderId(job.key),
            input: Input::Answered(answer.clone()),
            origin: job.origin(),
        });
        apply(conn, heard.collect()).await
    }
}

/// Only a definite answer ends a call. A refusal is for a person: money stays where it does not belong until the
/// processor gives in.
fn settle(job: &Job, request: &Request, reply: Reply) -> JobOutcome<Answer> {
    match reply {
        Reply::Answer(answer) => JobOutcome::Completed(answer),
        Reply::Unknown(reason) | Reply::Trouble(reason) => JobOutcome::Retry(reason),
        Reply::Refused(reason) => {
            tracing::error!(
                order_id = %job.key,
                payment_id = %request.payment_id,
                action = %request.action(),
                attempts = job.attempts,
                reason,
                "the processor refuses: it is asked again, and needs a person",
            );
            JobOutcome::Retry(format!("refused: {reason}"))
        }
    }
}

/// A refusal is an answer: the processor is well, if not of our mind.
fn sign_of(reply: &Reply) -> CallResult {
    match reply {
        Reply::Trouble(_) => CallResult::Failure,
        Reply::Answer(_) | Reply::Unknown(_) | Reply::Refused(_) => CallResult::Success,
    }
}

fn name_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Answer(answer) => Input::Answered(answer.clone()).name(),
        Reply::Unknown(_) => "unknown",
        Reply::Trouble(_) => "trouble",
        Reply::Refused(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decline_or_a_refusal_is_an_answer_and_only_trouble_is_a_sign_of_trouble() {
        let because = || "because".to_owned();
        for reply in [
            Reply::Answer(Answer::Declined { reason: because() }),
            Reply::Answer(Answer::CaptureFailed { reason: because() }),
            Reply::Answer(Answer::Captured),
            Reply::Unknown(because()),
            Reply::Refused(because()),
        ] {
            assert_eq!(sign_of(&reply), CallResult::Success, "{reply:?}");
        }
        assert_eq!(sign_of(&Reply::Trouble(because())), CallResult::Failure);
    }
}

//! The calls to the card processor, from a durable queue: made with no transaction open, repeated until the answer is
//! definite, and recorded by the same [`Reactions`] that take the events.

use std::time::Instant;

use contracts::OrderId;
use messaging::{CallResult, Job, JobOutcome, Worker};
use opentelemetry::{KeyValue, global, metrics::Histogram};
use serde::Deserialize;

use crate::domain::{Answer, Input};
use crate::processor::{Processor, Reply, Request};
use crate::reactions::{OrderInput, Reactions};

#[derive(Debug, Clone)]
pub(crate) struct Calls {
    processor: Processor,
    duration: Histogram<f64>,
}

impl Calls {
    pub(crate) fn new(processor: Processor) -> Self {
        let duration = global::meter("payment")
            .f64_histogram("payment.call.duration")
            .with_unit("s")
            .with_description("Duration of calls to the card processor; alarm on reply=refused")
            .with_boundaries(http_api::server::DURATION_BOUNDARIES.to_vec())
            .build();
        Self { processor, duration }
    }
}

impl Worker for Calls {
    type Outcome = Answer;
    type Reaction = Reactions;

    async fn call(&self, job: &Job) -> (JobOutcome<Answer>, CallResult) {
        let request = match Request::deserialize(&job.payload) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(job_id = %job.id, %error, "the job's payload is not a call to the processor: it needs an operator");
                return (JobOutcome::Retry(error.to_string()), CallResult::Ignored);
            }
        };
        let start = Instant::now();
        let reply = self.processor.call(&request, &job.origin.trace).await;
        let attributes =
            [KeyValue::new("action", request.action().into_str()), KeyValue::new("reply", name_of(&reply))];
        self.duration.record(start.elapsed().as_secs_f64(), &attributes);
        let result = call_result(&reply);
        (settle(job, &request, reply), result)
    }

    fn input(job: &Job, answer: &Answer) -> Option<OrderInput> {
        Some(OrderInput {
            order_id: OrderId(job.key),
            input: Input::Answered(answer.clone()),
            context: job.origin.clone(),
        })
    }

    fn reaction(&self) -> &Reactions {
        &Reactions
    }
}

/// Only a definite answer ends a call. A refusal needs an operator: money stays where it does not belong until the
/// processor accepts the call.
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
                "the processor refuses the call: it is repeated, and needs an operator",
            );
            JobOutcome::Retry(format!("refused: {reason}"))
        }
    }
}

/// A refusal is an answer, so the processor is healthy.
fn call_result(reply: &Reply) -> CallResult {
    match reply {
        Reply::Trouble(_) => CallResult::Failure,
        Reply::Answer(_) | Reply::Unknown(_) | Reply::Refused(_) => CallResult::Success,
    }
}

fn name_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Answer(answer) => answer.into_str(),
        Reply::Unknown(_) => "unknown",
        Reply::Trouble(_) => "trouble",
        Reply::Refused(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trouble_is_a_failure_of_the_processor() {
        let because = || "because".to_owned();
        for reply in [
            Reply::Answer(Answer::Declined { reason: because() }),
            Reply::Answer(Answer::CaptureFailed { reason: because() }),
            Reply::Answer(Answer::Captured),
            Reply::Unknown(because()),
            Reply::Refused(because()),
        ] {
            assert_eq!(call_result(&reply), CallResult::Success, "{reply:?}");
        }
        assert_eq!(call_result(&Reply::Trouble(because())), CallResult::Failure);
    }
}

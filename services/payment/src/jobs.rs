//! The calls to the card processor, from a durable queue: made with no transaction open, repeated until the answer is
//! definite, and recorded by the same [`Reactions`] that take the events.

use std::time::Instant;

use contracts::OrderId;
use messaging::{CallResult, Job, JobOutcome, Worker, jobs::Resolution};
use opentelemetry::{KeyValue, global, metrics::Histogram};
use serde::Deserialize;

use crate::domain::{Answer, Input};
use crate::processor::{KEY_RETENTION, Processor, Refused, Reply, Request, resolution::resolve};
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
            .with_description(
                "Duration of calls to the card processor; alarm on reply=denied and reply=unsettled",
            )
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
                let reason = format!("the payload is not a call to the processor: {error}");
                return (JobOutcome::Parked(reason), CallResult::Ignored);
            }
        };
        let start = Instant::now();
        let reply = self.settle(job, &request).await;
        let attributes =
            [KeyValue::new("action", request.action().into_str()), KeyValue::new("reply", name_of(&reply))];
        self.duration.record(start.elapsed().as_secs_f64(), &attributes);
        let result = call_result(&reply);
        (outcome(job, &request, reply), result)
    }

    fn resolve(&self, job: &Job, resolution: &Resolution) -> Result<Answer, String> {
        let request = Request::deserialize(&job.payload).map_err(|error| error.to_string())?;
        resolve(&request, resolution)
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

impl Calls {
    /// Makes the call, or asks what became of it: when it is refused, and when the processor may have forgotten its key.
    async fn settle(&self, job: &Job, request: &Request) -> Reply {
        if job.age >= KEY_RETENTION {
            return self.processor.look_up(request, "no answer for too long").await;
        }
        match self.processor.call(request, &job.origin.trace).await {
            Err(Refused(reason)) => {
                tracing::warn!(order_id = %job.key, action = %request.action(), reason, "the processor refuses a call");
                self.processor.look_up(request, &reason).await
            }
            Ok(reply) => reply,
        }
    }
}

/// Only a definite answer ends a call; what no call can settle is parked.
fn outcome(job: &Job, request: &Request, reply: Reply) -> JobOutcome<Answer> {
    match reply {
        Reply::Answer(answer) => JobOutcome::Completed(answer),
        Reply::Unknown(reason) | Reply::Trouble(reason) => JobOutcome::Retry(reason),
        Reply::Denied(reason) => {
            let (action, attempts) = (request.action(), job.attempts);
            tracing::error!(order_id = %job.key, %action, attempts, reason, "the processor denies access: check our credentials");
            JobOutcome::Retry(format!("access denied: {reason}"))
        }
        Reply::Unsettled(reason) => JobOutcome::Parked(reason),
    }
}

/// Whatever is an answer shows that the processor is healthy.
fn call_result(reply: &Reply) -> CallResult {
    match reply {
        Reply::Trouble(_) => CallResult::Failure,
        Reply::Answer(_) | Reply::Unknown(_) | Reply::Denied(_) => CallResult::Success,
        Reply::Unsettled(_) => CallResult::Ignored,
    }
}

fn name_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Answer(answer) => answer.into_str(),
        Reply::Unknown(_) => "unknown",
        Reply::Trouble(_) => "trouble",
        Reply::Denied(_) => "denied",
        Reply::Unsettled(_) => "unsettled",
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
            Reply::Answer(Answer::Voided),
            Reply::Unknown(because()),
            Reply::Denied(because()),
        ] {
            assert_eq!(call_result(&reply), CallResult::Success, "{reply:?}");
        }
        assert_eq!(call_result(&Reply::Trouble(because())), CallResult::Failure);
    }
}

//! Calls to the outside: jobs that were committed, and outcomes that are not recorded yet.
//!
//! A job stays until its outcome is recorded. So a call is made again when its worker dies, and two workers make the
//! same call when the lease of the first runs out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::OrderId;
use messaging::{Effects, NewJob, jobs::Resolution};
use notification::domain::Input;
use payment::domain::{Action, Answer};
use payment::processor::{Refused, Reply, Request};
use payment_provider::domain::Status as Shown;
use system::Service;
use uuid::Uuid;

use crate::invariants::{self, Checked, Violation};
use crate::outside::Luck;
use crate::plan::number;
use crate::services::Tables;
use crate::world::{End, World, told};

/// How long a job that got no answer is left alone, in seconds.
const BACKOFF_SECONDS: i64 = 5;

/// The job tables of payment and notification, and the outcomes in the memory of their workers.
#[derive(Default)]
pub(crate) struct Work {
    jobs: Vec<Job>,
    ended: Vec<Ended>,
    /// The mails that a worker hands over at this moment, by their jobs.
    handed_over: Vec<(u32, OrderId, Uuid)>,
    /// How often each job was tried, also of those that are done.
    attempts: BTreeMap<u32, u32>,
    added: u32,
}

#[derive(Debug, Clone)]
struct Job {
    id: u32,
    written_at: DateTime<Utc>,
    task: Task,
    /// No call can settle it: it waits for an operator.
    is_parked: bool,
    /// What an operator says became of it.
    resolution: Option<Resolution>,
}

/// A call to the outside.
#[derive(Debug, Clone)]
enum Task {
    /// To the card processor, for an order.
    Call(OrderId, Request),
    /// To the mail server: the notification of this id.
    Mail(OrderId, Uuid),
}

impl Task {
    fn key(&self) -> (Service, OrderId) {
        match self {
            Self::Call(order_id, _) => (Service::Payment, *order_id),
            Self::Mail(order_id, _) => (Service::Notification, *order_id),
        }
    }

    fn authorizes(&self, order_id: OrderId) -> bool {
        matches!(self, Self::Call(of, request) if *of == order_id && request.action() == Action::Authorize)
    }

    /// The task that a job's row holds.
    fn of(service: Service, job: NewJob) -> Self {
        let order_id = OrderId(job.key);
        match service {
            Service::Payment => {
                Self::Call(order_id, serde_json::from_value(job.payload).expect("a call to the processor"))
            }
            _ => Self::Mail(order_id, job.id.expect("a notification's id")),
        }
    }
}

struct Ended {
    job: u32,
    /// Which attempt at the job it is.
    attempt: u32,
    outcome: Recorded,
}

/// How a call ended, and what it was about.
#[derive(Debug, Clone)]
enum Recorded {
    Call(OrderId, Answer),
    Mail(OrderId, Uuid, Option<Input>),
}

impl Work {
    /// Adds jobs, as part of a commit.
    pub(crate) fn add(&mut self, service: Service, jobs: Vec<NewJob>, written_at: DateTime<Utc>) {
        for job in jobs {
            self.added += 1;
            let (id, task) = (self.added, Task::of(service, job));
            self.attempts.insert(id, 0);
            self.jobs.push(Job { id, written_at, task, is_parked: false, resolution: None });
        }
    }

    pub(crate) fn any_jobs(&self) -> bool {
        !self.claimable(true).is_empty()
    }

    pub(crate) fn any_handed_over(&self) -> bool {
        !self.handed_over.is_empty()
    }

    pub(crate) fn any_parked(&self) -> bool {
        self.jobs.iter().any(|job| job.is_parked)
    }

    /// Whether the call to authorize an order may be withdrawn.
    pub(crate) fn may_withdraw(&self, order_id: OrderId, may: fn(u32) -> bool) -> bool {
        self.jobs.iter().any(|job| job.task.authorizes(order_id) && may(self.attempts[&job.id]))
    }

    /// Takes the call to authorize an order away, as part of a commit.
    pub(crate) fn withdraw(&mut self, order_id: Option<OrderId>) {
        self.jobs.retain(|job| !order_id.is_some_and(|order_id| job.task.authorizes(order_id)));
    }

    /// The places of the jobs that a worker may take: of each key the first that was written.
    fn claimable(&self, in_order: bool) -> Vec<usize> {
        let is_first = |index: usize| {
            let key = self.jobs[index].task.key();
            !in_order || !self.jobs[..index].iter().any(|job| job.task.key() == key)
        };
        // The lease of a job outlasts the handing over of its mail.
        let is_free = |index: usize| {
            let Job { id, is_parked, .. } = self.jobs[index];
            !is_parked && !self.handed_over.iter().any(|(job, ..)| *job == id)
        };
        (0..self.jobs.len()).filter(|index| is_free(*index) && is_first(*index)).collect()
    }

    pub(crate) fn any_ended(&self) -> bool {
        !self.ended.is_empty()
    }
}

impl World {
    /// A worker makes the call of a job, with no transaction open.
    pub(crate) fn call(&mut self) -> Checked<()> {
        let claimable = self.work.claimable(self.system.jobs_run_in_order);
        let index = self.choices.of(&claimable);
        let luck = self.mishap(Luck::Answered, Luck::MISHAPS);
        let job = self.work.jobs[index].clone();
        *self.work.attempts.entry(job.id).or_default() += 1;
        let outcome = match (job.task.clone(), &job.resolution) {
            (Task::Call(order_id, request), Some(resolution)) => {
                let resolved = (self.system.resolve)(&request, resolution);
                let answer = resolved.map_err(|told| Violation::new("an operator is understood", told))?;
                Some(Recorded::Call(order_id, answer))
            }
            (Task::Call(order_id, request), None) => self.call_processor(order_id, &request, index, luck)?,
            (Task::Mail(order_id, mail), _) if self.tables.mails.outgoing(order_id, mail).is_none() => {
                Some(Recorded::Mail(order_id, mail, None))
            }
            (Task::Mail(order_id, mail), _) => {
                self.work.handed_over.push((job.id, order_id, mail));
                return Ok(());
            }
        };
        self.end(job.id, outcome);
        Ok(())
    }

    /// A mail that was handed over is taken, or not.
    pub(crate) fn deliver(&mut self) -> Checked<()> {
        let index = self.choices.below(self.work.handed_over.len());
        let (job, order_id, mail) = self.work.handed_over.remove(index);
        let luck = self.mishap(Luck::Answered, &[Luck::LostOnTheWay, Luck::LostOnTheWayBack]);
        let outcome = self.call_mail_server(order_id, mail, luck)?;
        self.end(job, outcome);
        Ok(())
    }

    /// A call of a job ended, with an outcome or without.
    fn end(&mut self, job: u32, outcome: Option<Recorded>) {
        let attempt = self.work.attempts[&job];
        match outcome {
            Some(outcome) => self.work.ended.push(Ended { job, attempt, outcome }),
            None => self.pass(BACKOFF_SECONDS),
        }
    }

    fn call_processor(
        &mut self,
        order_id: OrderId,
        request: &Request,
        index: usize,
        luck: Luck,
    ) -> Checked<Option<Recorded>> {
        let Job { id, written_at, .. } = self.work.jobs[index];
        let key = (self.system.key)(request, self.work.attempts[&id]);
        let (now, fresh_id, system) = (self.now, self.fresh_id(), self.system);
        let action = request.action();
        if luck != Luck::LostOnTheWay {
            invariants::before_a_call(self, order_id, action)?;
        }
        let reply = if (system.is_looked_up)(now - written_at) {
            self.outside.look_up(system.found, request, "no answer for too long")
        } else {
            match self.outside.call(system.answer, (request, &key), now, fresh_id, luck) {
                Err(Refused(reason)) => self.outside.look_up(system.found, request, &reason),
                Ok(reply) => reply,
            }
        };
        self.trace.note(|| {
            format!(
                "payment calls the processor to {action} for order {} ({luck:?}): {reply:?}",
                number(order_id)
            )
        });
        let answer = match reply {
            Reply::Answer(answer) => Some(answer),
            Reply::Unsettled(_) => {
                self.work.jobs[index].is_parked = true;
                None
            }
            _ => (system.silence)(action),
        };
        Ok(answer.map(|answer| Recorded::Call(order_id, answer)))
    }

    /// An operator looks at the processor's dashboard, does there by hand what the call was to do, and says what became of
    /// it.
    pub(crate) fn resolve(&mut self) {
        let parked: Vec<_> = (0..self.work.jobs.len()).filter(|it| self.work.jobs[*it].is_parked).collect();
        let index = self.choices.of(&parked);
        let Task::Call(order_id, request) = self.work.jobs[index].task.clone() else { return };
        let (now, fresh_id) = (self.now, self.fresh_id());
        self.outside.settle_by_hand(&request, now, fresh_id);
        let shown = self.outside.shown(&request);
        let status = shown.as_ref().map(|(_, status)| *status);
        let outcome = match (request.action(), status) {
            (Action::Authorize, Some(_)) => "authorized",
            (Action::Authorize, None) => "declined",
            (Action::Capture | Action::Void, Some(Shown::Captured | Shown::Refunded)) => "captured",
            (Action::Capture, _) => "failed",
            (Action::Void, _) => "voided",
            (Action::Refund, _) => "refunded",
        };
        self.trace.note(|| format!("an operator finds order {} {outcome}", number(order_id)));
        let (reference, reason) = (shown.map(|(id, _)| id), "found at the dashboard".to_owned());
        let job = &mut self.work.jobs[index];
        job.is_parked = false;
        job.resolution = Some(Resolution { outcome: outcome.to_owned(), reference, reason });
    }

    /// The mail may have been dropped since it was handed over.
    fn call_mail_server(&mut self, order_id: OrderId, id: Uuid, luck: Luck) -> Checked<Option<Recorded>> {
        let kind = self.tables.mails.kind(order_id, id);
        let input = if self.mishap(false, &[true]) {
            Some(Input::Refused { id, attempts: 1, reason: "no such mailbox".to_owned() })
        } else {
            let accepted = luck != Luck::LostOnTheWay;
            if accepted {
                invariants::before_a_mail(self, order_id, kind)?;
            }
            self.outside.mails.extend(accepted.then_some((id, order_id, kind)));
            (luck == Luck::Answered).then_some(Input::Accepted { id, attempts: 1, at: self.now })
        };
        self.trace
            .note(|| format!("the mail server is given \"{kind}\" of order {}: {input:?}", number(order_id)));
        Ok(input.map(|input| Recorded::Mail(order_id, id, Some(input))))
    }

    /// A service records how a call ended, if its job is still there, and takes the job away.
    pub(crate) fn record(&mut self) -> Checked<()> {
        let index = self.choices.below(self.work.ended.len());
        let Ended { job, attempt, outcome } = self.work.ended.remove(index);
        let end = self.mishap(End::Commit, &[End::CrashBefore, End::CrashAfter]);
        let there = self.work.jobs.iter().any(|it| it.id == job);
        self.trace.note(|| format!("an outcome is recorded: {}{}", outcome.told(), told(end)));
        let is_stale = self.system.stale_outcomes_are_dropped && self.work.attempts[&job] != attempt;
        if is_stale || !there && self.system.repeats_are_kept_away {
            self.trace.note(|| "    its job was recorded before, or is another worker's".to_owned());
            return Ok(());
        }
        // A worker whose commit got no answer records again.
        if end == End::CrashAfter && !self.system.repeats_are_kept_away {
            self.work.ended.push(Ended { job, attempt, outcome: outcome.clone() });
        }
        let system = self.system;
        let service = outcome.service();
        self.transact(service, end, |tables: &mut Tables| match outcome {
            Recorded::Call(order_id, answer) => tables.payments.answered(&system, order_id, answer),
            Recorded::Mail(order_id, id, Some(input)) => tables.mails.answered(&system, order_id, input, id),
            Recorded::Mail(_, _, None) => Ok(Effects::default()),
        })?;
        if end != End::CrashBefore {
            self.work.jobs.retain(|it| it.id != job);
        }
        Ok(())
    }
}

impl Recorded {
    fn service(&self) -> Service {
        match self {
            Self::Call(..) => Service::Payment,
            Self::Mail(..) => Service::Notification,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Call(order_id, answer) => format!("{answer:?} for order {}", number(*order_id)),
            Self::Mail(order_id, _, input) => format!("{input:?} of order {}", number(*order_id)),
        }
    }
}

//! Calls to the outside: jobs that were committed, and outcomes that are not recorded yet.
//!
//! A job stays until its outcome is recorded. So a call is made again when its worker dies, and two workers make the
//! same call when the lease of the first runs out.

use contracts::{NotificationKind, OrderId};
use notification::domain::Outcome;
use payment::domain::Answer;
use payment::processor::Request;
use system::Service;
use uuid::Uuid;

use crate::invariants::{self, Checked};
use crate::outside::Luck;
use crate::plan::number;
use crate::services::{Tables, Task};
use crate::world::{End, World, told};

/// How long a job that got no answer is left alone, in seconds.
const BACKOFF_SECONDS: i64 = 5;

/// The job tables of payment and notification, and the outcomes in the memory of their workers.
#[derive(Default)]
pub(crate) struct Work {
    jobs: Vec<Job>,
    ended: Vec<Ended>,
    added: u32,
}

#[derive(Debug, Clone)]
struct Job {
    id: u32,
    attempts: u32,
    task: Task,
}

struct Ended {
    job: u32,
    outcome: Recorded,
}

/// How a call ended, and what it was about.
#[derive(Debug, Clone)]
enum Recorded {
    Call(OrderId, Answer),
    Mail(OrderId, NotificationKind, Outcome),
}

impl Work {
    /// Adds jobs, as part of a commit.
    pub(crate) fn add(&mut self, tasks: Vec<Task>) {
        for task in tasks {
            self.added += 1;
            self.jobs.push(Job { id: self.added, attempts: 0, task });
        }
    }

    pub(crate) fn any_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(crate) fn any_ended(&self) -> bool {
        !self.ended.is_empty()
    }
}

impl World {
    /// A worker makes the call of a job, with no transaction open.
    pub(crate) fn call(&mut self) -> Checked<()> {
        let index = self.choices.below(self.work.jobs.len());
        let luck = self.mishap(Luck::Answered, &[Luck::LostOnTheWay, Luck::LostOnTheWayBack]);
        self.work.jobs[index].attempts += 1;
        let Job { id, attempts, task } = self.work.jobs[index].clone();
        let outcome = match task {
            Task::Call(order_id, request) => self.call_processor(order_id, &request, attempts, luck)?,
            Task::Mail(order_id, kind, mail) => self.call_mail_server(order_id, kind, mail, luck),
        };
        match outcome {
            Some(outcome) => self.work.ended.push(Ended { job: id, outcome }),
            None => self.pass(BACKOFF_SECONDS),
        }
        Ok(())
    }

    fn call_processor(
        &mut self,
        order_id: OrderId,
        request: &Request,
        attempt: u32,
        luck: Luck,
    ) -> Checked<Option<Recorded>> {
        let key = (self.system.key)(request, attempt);
        let (now, fresh_id) = (self.now, self.fresh_id());
        let action = request.action();
        if luck != Luck::LostOnTheWay {
            invariants::before_a_call(self, order_id, action)?;
        }
        let answer = self.outside.call((request, &key), now, fresh_id, luck)?;
        self.trace.note(|| {
            let answer =
                answer.as_ref().map_or_else(|| format!("no answer ({luck:?})"), |it| format!("{it:?}"));
            format!("payment calls the processor to {action} for order {}: {answer}", number(order_id))
        });
        let answer = answer.or_else(|| (self.system.silence)(action));
        Ok(answer.map(|answer| Recorded::Call(order_id, answer)))
    }

    fn call_mail_server(
        &mut self,
        order_id: OrderId,
        kind: NotificationKind,
        mail: Uuid,
        luck: Luck,
    ) -> Option<Recorded> {
        let outcome = if !self.tables.mails.is_outgoing(order_id, kind) {
            Some(Outcome::NotSent)
        } else if self.mishap(false, &[true]) {
            Some(Outcome::Failed { reason: "no such mailbox".to_owned() })
        } else {
            let taken = luck != Luck::LostOnTheWay;
            self.outside.mails.extend(taken.then_some((mail, order_id, kind)));
            (luck == Luck::Answered).then_some(Outcome::Sent { at: self.now })
        };
        self.trace.note(|| {
            format!("the mail server is given \"{kind}\" of order {}: {outcome:?}", number(order_id))
        });
        outcome.map(|outcome| Recorded::Mail(order_id, kind, outcome))
    }

    /// A service records how a call ended, if its job is still there, and takes the job away.
    pub(crate) fn record(&mut self) -> Checked<()> {
        let index = self.choices.below(self.work.ended.len());
        let Ended { job, outcome } = self.work.ended.remove(index);
        let end = self.mishap(End::Commit, &[End::CrashBefore, End::CrashAfter]);
        let there = self.work.jobs.iter().any(|it| it.id == job);
        self.trace.note(|| format!("an outcome is recorded: {}{}", outcome.told(), told(end)));
        if !there && self.system.repeats_are_kept_away {
            self.trace.note(|| "    its job was recorded before".to_owned());
            return Ok(());
        }
        let system = self.system;
        let service = outcome.service();
        self.transact(service, None, end, |tables: &mut Tables, _| match outcome {
            Recorded::Call(order_id, answer) => tables.payments.answered(&system, order_id, answer),
            Recorded::Mail(order_id, kind, outcome) => tables.mails.ended(order_id, kind, &outcome),
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
            Self::Mail(order_id, kind, outcome) => {
                format!("mail \"{kind}\" of order {}: {outcome:?}", number(*order_id))
            }
        }
    }
}

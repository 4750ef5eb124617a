//! Calls to the outside: jobs that were committed, and outcomes that are not recorded yet.
//!
//! A job stays until its outcome is recorded. So a call is made again when its worker dies, and two workers make the
//! same call when the lease of the first runs out.

use contracts::OrderId;
use messaging::{Effects, NewJob};
use notification::domain::Input;
use payment::domain::Answer;
use payment::processor::Request;
use system::Service;
use uuid::Uuid;

use crate::invariants::{self, Checked};
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
    added: u32,
}

#[derive(Debug, Clone)]
struct Job {
    id: u32,
    attempts: u32,
    task: Task,
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
    pub(crate) fn add(&mut self, service: Service, jobs: Vec<NewJob>) {
        for job in jobs {
            self.added += 1;
            self.jobs.push(Job { id: self.added, attempts: 0, task: Task::of(service, job) });
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
            Task::Mail(order_id, mail) => self.call_mail_server(order_id, mail, luck),
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

    /// Of a mail that is not to be sent any more there is nothing to record but that its job is done.
    fn call_mail_server(&mut self, order_id: OrderId, id: Uuid, luck: Luck) -> Option<Recorded> {
        let Some(kind) = self.tables.mails.outgoing(order_id, id) else {
            return Some(Recorded::Mail(order_id, id, None));
        };
        let input = if self.mishap(false, &[true]) {
            Some(Input::Refused { id, attempts: 1, reason: "no such mailbox".to_owned() })
        } else {
            let accepted = luck != Luck::LostOnTheWay;
            self.outside.mails.extend(accepted.then_some((id, order_id, kind)));
            (luck == Luck::Answered).then_some(Input::Accepted { id, attempts: 1, at: self.now })
        };
        self.trace
            .note(|| format!("the mail server is given \"{kind}\" of order {}: {input:?}", number(order_id)));
        input.map(|input| Recorded::Mail(order_id, id, Some(input)))
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
        self.transact(service, end, |tables: &mut Tables, _| match outcome {
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

//! The broker in memory: a queue for each service, fed by what the service subscribes to, and the event stream.
//!
//! A queue promises nothing but that a message stays until it is acknowledged. Which message comes next, and how
//! often, the caller of [`take`](Broker::take) decides.

use std::rc::Rc;

use contracts::Envelope;
use system::Service;

/// Messages that are published and not acknowledged.
#[derive(Default)]
pub(crate) struct Broker {
    queues: [Vec<Rc<Envelope>>; Service::ALL.len()],
    log: Vec<Rc<Envelope>>,
}

impl Broker {
    /// Routes a message to every queue that is bound to it, and to the log.
    pub(crate) fn publish(&mut self, message: &Rc<Envelope>) {
        let event_type = message.event.event_type();
        for consumer in system::subscribers_of(event_type) {
            self.queues[consumer as usize].push(message.clone());
        }
        self.log.push(message.clone());
    }

    /// How many messages wait for a service.
    pub(crate) fn waiting(&self, consumer: Service) -> usize {
        self.queues[consumer as usize].len()
    }

    /// Takes a message out of a queue, 0 being the oldest.
    pub(crate) fn take(&mut self, consumer: Service, index: usize) -> Rc<Envelope> {
        self.queues[consumer as usize].remove(index)
    }

    /// Gives a message back that was not acknowledged: it comes again, after the others.
    pub(crate) fn requeue(&mut self, consumer: Service, message: Rc<Envelope>) {
        self.queues[consumer as usize].push(message);
    }

    /// All that was ever published, repeats included.
    pub(crate) fn log(&self) -> &[Rc<Envelope>] {
        &self.log
    }
}

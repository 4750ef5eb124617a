//! A reaction that notes what takes effect, and fails as it is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use contracts::{InvalidTransition, OrderId};
use messaging::{Delivery, Outcome, Reaction, ReactionError};
use sqlx::{AssertSqlSafe, PgConnection};

/// How a reaction fails.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    InvalidTransition,
    /// Panics.
    Panic,
    /// Makes the database raise this SQLSTATE.
    Raise(&'static str),
    /// Ends its own session in the middle of the transaction.
    Terminate,
}

/// Notes every event in table `effects`, and fails for the orders that it was told to.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Script>);

#[derive(Debug, Default)]
struct Script {
    faults: Mutex<HashMap<OrderId, VecDeque<Fault>>>,
    batches: Mutex<Vec<Vec<OrderId>>>,
}

impl Recorder {
    /// Fails for the order, one fault for each time. A fault of the message's own counts when the message is
    /// alone; in a batch it fails the batch.
    pub fn fail(&self, order: OrderId, faults: impl IntoIterator<Item = Fault>) {
        self.0.faults.lock().expect("no panic").entry(order).or_default().extend(faults);
    }

    /// The orders of every batch that was tried.
    pub fn batches(&self) -> Vec<Vec<OrderId>> {
        self.0.batches.lock().expect("no panic").clone()
    }

    /// How often the order was tried.
    pub fn tries(&self, order: OrderId) -> usize {
        self.batches().iter().filter(|batch| batch.contains(&order)).count()
    }

    fn next_fault(&self, order: OrderId, alone: bool) -> Option<Fault> {
        let mut faults = self.0.faults.lock().expect("no panic");
        let faults = faults.get_mut(&order)?;
        let own = matches!(faults.front()?, Fault::InvalidTransition | Fault::Panic | Fault::Raise("23514"));
        if own && !alone { faults.front().copied() } else { faults.pop_front() }
    }
}

impl Reaction for Recorder {
    type Event = contracts::Event;
    type Input = Delivery;
    type State = ();
    type Changes = ();

    fn input(delivery: &Delivery) -> Option<Delivery> {
        Some(delivery.clone())
    }

    async fn open(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<(), ReactionError> {
        let orders: Vec<_> = batch.iter().map(order_of).collect();
        self.0.batches.lock().expect("no panic").push(orders.clone());
        for (delivery, order) in batch.iter().zip(orders) {
            note(conn, delivery, order).await?;
            match self.next_fault(order, batch.len() == 1) {
                None => {}
                Some(Fault::InvalidTransition) => {
                    return Err(InvalidTransition::new("order", order, "told to fail", "this").into());
                }
                Some(Fault::Panic) => panic!("told to, for order {order}"),
                Some(Fault::Raise(state)) => raise(conn, state).await?,
                Some(Fault::Terminate) => terminate_self(conn).await?,
            }
        }
        Ok(())
    }

    fn fold((): (), _: &[Delivery]) -> Result<Outcome<()>, InvalidTransition> {
        Ok(Outcome::default())
    }

    async fn save(&self, _: &mut PgConnection, (): &()) -> Result<(), ReactionError> {
        Ok(())
    }
}

fn order_of(delivery: &Delivery) -> OrderId {
    delivery.envelope.event.order_id().expect("an event of an order")
}

async fn note(conn: &mut PgConnection, delivery: &Delivery, order: OrderId) -> sqlx::Result<()> {
    sqlx::query("insert into effects (order_id, aggregate_version) values ($1, $2)")
        .bind(order.0)
        .bind(delivery.envelope.aggregate_version)
        .execute(conn)
        .await?;
    Ok(())
}

/// Makes the database fail with the SQLSTATE.
pub async fn raise(conn: &mut PgConnection, state: &str) -> sqlx::Result<()> {
    let raise = format!("do $$ begin raise exception 'told to' using errcode = '{state}'; end $$");
    sqlx::query(AssertSqlSafe(raise)).execute(conn).await?;
    Ok(())
}

async fn terminate_self(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(conn).await?;
    Ok(())
}

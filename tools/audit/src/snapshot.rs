//! The data of the rules across databases.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use contracts::OrderLine;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::types::{Json, Uuid};
use sqlx::{AssertSqlSafe, FromRow, PgPool, Postgres, Transaction};
use system::Service;

use super::charges::Charges;
use super::rules::Queries;
use super::{Count, Found, Recorded, Sources, Violation};

/// How many violations of a rule are read.
const VIOLATION_LIMIT: i64 = 1_000;

/// Everything that the rules across databases look at, in memory: some hundred bytes for each order.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub orders: BTreeMap<Uuid, OrderRow>,
    pub reservations: BTreeMap<Uuid, String>,
    /// What left the stock and did not come back, by SKU.
    pub sold: BTreeMap<String, i64>,
    pub payments: BTreeMap<Uuid, PaymentRow>,
    /// Statuses of the mails, by order and kind: one, but for refunds in parts.
    pub mails: BTreeMap<(Uuid, String), Vec<String>>,
    /// What analytics counts, by name.
    pub summary: BTreeMap<String, i64>,
    pub charges: Charges,
    pub queues: BTreeMap<String, u32>,
    /// The message ids of the dead letters.
    pub dead_letters: BTreeMap<Service, BTreeSet<String>>,
    pub expected_dead_letters: usize,
    pub recorded: Vec<Recorded>,
    /// What waits, in all databases.
    pub waiting: Waiting,
    /// Events of the stream that analytics has not read yet.
    pub unread: i64,
}

/// Rows that wait for their service.
#[derive(Debug, Clone, Copy, Default, FromRow)]
pub struct Waiting {
    pub outbox: i64,
    pub jobs: i64,
    /// Messages that failed and are tried again.
    pub retries: i64,
}

#[derive(Debug, Clone, FromRow)]
pub struct OrderRow {
    id: Uuid,
    /// `pending`, `confirmed`, `completed` or `cancelled`.
    pub status: String,
    pub reason: Option<String>,
    pub total_minor: i64,
    pub currency: String,
    pub lines: Json<Vec<OrderLine>>,
    /// Whether it is cancelled and both participants have compensated.
    pub settled: bool,
    pub cancelled_for: Option<f64>,
    /// The types of all events of its log.
    pub facts: Vec<String>,
}

/// A payment with what was posted for it, in minor units.
#[derive(Debug, Clone, FromRow)]
pub struct PaymentRow {
    order_id: Uuid,
    pub status: String,
    /// The amount asked for; nothing for a tombstone.
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub held: i64,
    pub captured: i64,
    pub refunded: i64,
    pub posted: bool,
    /// Whether a call to the processor is not answered yet, and still may be.
    pub calling: bool,
}

/// Connects to each database, once.
pub(super) async fn open(databases: &[(Service, String)]) -> Result<BTreeMap<Service, PgPool>> {
    let mut pools = BTreeMap::new();
    for (service, url) in databases {
        let options: PgConnectOptions = url.parse().context("not a valid database URL")?;
        // Whatever its role is allowed: an auditor writes nothing.
        let options = options.options([("default_transaction_read_only", "on")]);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await;
        let pool = pool.with_context(|| format!("cannot connect to the database of {service}"))?;
        pools.insert(*service, pool);
    }
    Ok(pools)
}

/// One snapshot of each database.
#[derive(Debug)]
pub(super) struct Tables(BTreeMap<Service, Transaction<'static, Postgres>>);

impl Tables {
    pub(super) async fn begin(pools: &BTreeMap<Service, PgPool>) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for (service, pool) in pools {
            let snapshot = runtime::database::snapshot(pool).await;
            tables.insert(*service, snapshot.with_context(|| format!("the database of {service}"))?);
        }
        Ok(Self(tables))
    }

    /// What a rule's queries find: the counts of all databases together, and the first violations.
    pub(super) async fn ask(&mut self, queries: &Queries) -> Result<Found> {
        let Queries { services, counts, faults } = queries;
        let mut found = Found::default();
        found.counted.extend(counts.iter().map(|(what, _)| Count { count: 0, what }));
        // The queries are this crate's own.
        let faults = format!("select about, fault from ({faults}\n) as violation limit {VIOLATION_LIMIT}");
        for service in services.iter().filter(|service| service.has_database()) {
            for (sum, (_, table)) in found.counted.iter_mut().zip(*counts) {
                let count: Vec<(i64,)> = self.rows(*service, format!("select count(*) from {table}")).await?;
                sum.count += usize::try_from(count[0].0)?;
            }
            let violations: Vec<Violation> = self.rows(*service, faults.clone()).await?;
            found.violations.extend(violations);
        }
        Ok(found)
    }

    fn services(&self) -> Vec<Service> {
        self.0.keys().copied().collect()
    }

    async fn rows<T>(&mut self, service: Service, query: impl Into<String>) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let table = self.0.get_mut(&service).with_context(|| format!("no database of {service}"))?;
        let rows = sqlx::query_as(AssertSqlSafe(query.into())).fetch_all(&mut **table).await;
        rows.with_context(|| format!("the database of {service} cannot be asked"))
    }
}

impl Snapshot {
    pub(super) async fn read(
        tables: &mut Tables,
        sources: &Sources,
        queues: BTreeMap<String, u32>,
        charges: Charges,
    ) -> Result<Self> {
        let orders: Vec<OrderRow> = tables.rows(Service::Order, ORDERS).await?;
        let reservations: Vec<(Uuid, String)> =
            tables.rows(Service::Inventory, "select order_id, status from reservations").await?;
        let sold: Vec<(String, i64)> = tables.rows(Service::Inventory, SOLD).await?;
        let payments: Vec<PaymentRow> = tables.rows(Service::Payment, PAYMENTS).await?;
        let mails: Vec<(Uuid, String, String)> =
            tables.rows(Service::Notification, "select order_id, kind, status from notifications").await?;
        let mut mails_of = BTreeMap::<_, Vec<_>>::new();
        for (order, kind, status) in mails {
            mails_of.entry((order, kind)).or_default().push(status);
        }
        let summary: Vec<(String, i64)> = tables.rows(Service::Analytics, SUMMARY).await?;
        Ok(Self {
            orders: orders.into_iter().map(|order| (order.id, order)).collect(),
            reservations: reservations.into_iter().collect(),
            sold: sold.into_iter().collect(),
            payments: payments.into_iter().map(|payment| (payment.order_id, payment)).collect(),
            mails: mails_of,
            summary: summary.into_iter().collect(),
            charges,
            dead_letters: dead_letters(tables).await?,
            queues,
            expected_dead_letters: sources.expected_dead_letters,
            recorded: sources.recorded.clone(),
            waiting: waiting(tables).await?,
            unread: unread(tables, sources).await?,
        })
    }

    /// Descriptions of what is under way; empty at rest.
    pub(super) fn under_way(&self) -> Vec<String> {
        let open = |order: &&OrderRow| order.status != "completed" && !order.settled;
        let orders = self.orders.values().filter(open).count();
        let Waiting { outbox, jobs, retries } = self.waiting;
        let messages = self.queues.values().map(|depth| i64::from(*depth));
        [
            (i64::try_from(orders).unwrap_or(i64::MAX), "orders not ended"),
            (outbox, "events not published"),
            (messages.sum(), "messages in queues"),
            (self.unread, "events not read by analytics"),
            (jobs, "jobs not done"),
            (retries, "messages to be tried again"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// Cancelled orders that wait for the processor's answer.
    pub(super) fn awaiting_processor(&self) -> Vec<String> {
        let waits = |id: &&Uuid| self.payments.get(*id).is_some_and(|payment| payment.calling);
        let open = self.orders.iter().filter(|(_, order)| order.status == "cancelled" && !order.settled);
        open.map(|(id, _)| id).filter(waits).map(ToString::to_string).collect()
    }
}

async fn waiting(tables: &mut Tables) -> Result<Waiting> {
    let mut waiting = Waiting::default();
    for service in tables.services() {
        for Waiting { outbox, jobs, retries } in tables.rows(service, WAITING).await? {
            waiting.outbox += outbox;
            waiting.jobs += jobs;
            waiting.retries += retries;
        }
    }
    Ok(waiting)
}

/// How far analytics is behind the end of the event stream. The end is asked for last: every event whose outbox row is
/// gone in a snapshot is before it. At least one event is unread when the stream seems to end before what was read.
async fn unread(tables: &mut Tables, sources: &Sources) -> Result<i64> {
    let next: Vec<(i64,)> = tables.rows(Service::Analytics, NEXT_OFFSET).await?;
    let end = amqp::inspect::stream_end(&sources.amqp_url).await.context("cannot read the event stream")?;
    let unread = end - next[0].0;
    Ok(if unread < 0 { 1 } else { unread })
}

async fn dead_letters(tables: &mut Tables) -> Result<BTreeMap<Service, BTreeSet<String>>> {
    let mut dead_letters = BTreeMap::new();
    for service in tables.services() {
        let ids: Vec<(String,)> = tables.rows(service, DEAD_LETTERS).await?;
        dead_letters.insert(service, ids.into_iter().map(|(id,)| id).collect());
    }
    Ok(dead_letters)
}

const ORDERS: &str = "
    with log as (
        select order_id, array_agg(type) as facts,
            extract(epoch from now() - min(occurred_at) filter (where type = 'order.cancelled'))::float8 as cancelled_for
        from order_events group by order_id
    )
    select id, status, reason, total_minor, currency, lines, cancelled_for, coalesce(facts, '{}') as facts,
        status = 'cancelled' and stock in ('rejected', 'released')
            and payment in ('declined', 'voided', 'refunded') as settled
    from orders left join log on order_id = id";

const SOLD: &str = "
    select sku, sum(-on_hand_delta)::bigint from stock_movements
    where kind in ('committed', 'returned') group by sku having sum(on_hand_delta) <> 0";

const PAYMENTS: &str = "
    with posted as (
        select order_id,
            coalesce(sum(amount_minor) filter (where account = 'authorized_holds'), 0)::bigint as held,
            coalesce(sum(amount_minor) filter (where account = 'captured_funds'), 0)::bigint as captured,
            coalesce(-sum(amount_minor) filter (where account = 'refunds'), 0)::bigint as refunded
        from ledger_entries group by order_id
    )
    select order_id, status, amount_minor, currency, coalesce(held, 0) as held, coalesce(captured, 0) as captured,
        coalesce(refunded, 0) as refunded, posted.order_id is not null as posted,
        exists (
            select from messaging.jobs
            where key = payments.order_id and parked_at is null and created_at > now() - interval '1 hour'
        ) as calling
    from payments left join posted using (order_id)";

const WAITING: &str = "
    select (select count(*) from messaging.outbox) as outbox, (select count(*) from messaging.jobs) as jobs,
        (select count(*) from messaging.failed_messages where due_at is not null) as retries";

const NEXT_OFFSET: &str = "select coalesce(max(next_offset), 0) from messaging.stream_offsets";

const DEAD_LETTERS: &str = "
    select coalesce(message_id, id::text) from messaging.failed_messages where due_at is null";

const SUMMARY: &str = "
    select concat_ws(' ', 'orders', status, cancel_reason), orders from order_counts where orders <> 0
    union all select 'captured ' || currency, captured_minor from revenue where captured_minor <> 0
    union all select 'refunded ' || currency, refunded_minor from revenue where refunded_minor <> 0
    union all select 'mails sent', mails_sent from totals where mails_sent <> 0
    union all select 'mails failed', mails_failed from totals where mails_failed <> 0";

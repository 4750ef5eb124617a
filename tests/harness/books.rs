//! The books of the whole shop: what must be true of every order once nothing is under way, whatever a test did.

use std::collections::{BTreeMap, BTreeSet};

use events::{Event, EventType, OrderId};
use order::domain::Order;
use order::state::Status;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Uuid;

use crate::shop::Shop;
use crate::wait::eventually;

/// Nothing, or what does not agree.
type Agreement<T = ()> = Result<T, String>;

/// Held, taken and given back, in minor units.
type Money = (i64, i64, i64);

impl Shop {
    /// Waits until nothing is under way, and all books agree.
    pub async fn check(&self) {
        let books = Books {
            shop: self,
            order: self.pool("order").await,
            payment: self.pool("payment").await,
            inventory: self.pool("inventory").await,
            notification: self.pool("notification").await,
            analytics: self.pool("analytics").await,
        };
        eventually("the books to agree", async || books.agree().await).await;
    }
}

struct Books<'a> {
    shop: &'a Shop,
    order: PgPool,
    payment: PgPool,
    inventory: PgPool,
    notification: PgPool,
    analytics: PgPool,
}

impl Books<'_> {
    async fn agree(&self) -> Agreement {
        self.nothing_waits().await?;
        let orders = self.orders_are_their_logs().await?;
        self.orders_are_settled(&orders)?;
        self.stock_is_its_ledger().await?;
        self.each_order_has_its_stock(&orders).await?;
        self.each_order_has_its_money(&orders).await?;
        self.the_processor_agrees().await?;
        self.each_order_has_its_mails(&orders).await?;
        self.the_summary_is_a_recount(&orders).await
    }

    /// Outboxes, jobs and queues are empty, those of the dead letters too.
    async fn nothing_waits(&self) -> Agreement {
        let pools = [&self.order, &self.payment, &self.inventory, &self.notification, &self.analytics];
        for pool in pools {
            let waiting: (String, i64, i64, i64) = sqlx::query_as(
                "select current_database()::text, (select count(*) from messaging.outbox),
                     (select count(*) from messaging.jobs), (select count(*) from messaging.stream_dead_letters)",
            )
            .fetch_one(pool)
            .await
            .expect("counts");
            let (_, outbox, jobs, dead) = waiting;
            agree((outbox, jobs, dead) == (0, 0, 0), || format!("outbox, jobs, dead letters: {waiting:?}"))?;
        }
        let waiting = self.shop.world.waiting().await;
        agree(waiting.is_empty(), || format!("messages wait in {waiting:?}"))
    }

    /// Every order, with the names of what its log holds: the log folded again gives the row.
    async fn orders_are_their_logs(&self) -> Agreement<Vec<(Order, BTreeSet<EventType>)>> {
        let mut conn = self.order.acquire().await.expect("a connection");
        let ids: Vec<Uuid> =
            sqlx::query_scalar("select id from orders order by id").fetch_all(&mut *conn).await.expect("ids");
        let mut orders = Vec::new();
        for id in ids.into_iter().map(OrderId) {
            let row = order::store::load(&mut conn, id).await.expect("loads").expect("is there");
            let log = order::store::log(&mut conn, id).await.expect("loads");
            let facts = log.iter().map(|entry| &entry.fact);
            let folded = order::domain::fold(row.placed_at, row.deadline_at, facts.clone());
            agree(folded.as_ref() == Some(&row), || format!("{row:?} is folded to {folded:?}"))?;
            let kinds: BTreeSet<EventType> = facts.map(Event::event_type).collect();
            agree(kinds.len() == log.len(), || format!("the log of {id} repeats a fact: {log:?}"))?;
            orders.push((row, kinds));
        }
        Ok(orders)
    }

    fn orders_are_settled(&self, orders: &[(Order, BTreeSet<EventType>)]) -> Agreement {
        let open = orders.iter().find(|(order, _)| order.status != Status::Completed && !order.settled());
        open.map_or(Ok(()), |(order, _)| Err(format!("not settled: {order:?}")))
    }

    /// The levels are the sums of the ledger, and what is set aside is what the open reservations hold.
    async fn stock_is_its_ledger(&self) -> Agreement {
        let wrong: Vec<(String, i64, i64)> = sqlx::query_as(
            "with moved as (
                 select sku, sum(on_hand_delta)::bigint as on_hand, sum(reserved_delta)::bigint as reserved
                 from stock_movements group by sku
             ), open as (
                 select line ->> 'sku' as sku, sum((line ->> 'quantity')::bigint)::bigint as reserved
                 from reservations, jsonb_array_elements(lines) as line where status = 'reserved' group by 1
             )
             select sku, stock.on_hand, stock.reserved
             from stock left join moved using (sku) left join open using (sku)
             where stock.on_hand <> coalesce(moved.on_hand, 0) or stock.reserved <> coalesce(moved.reserved, 0)
                 or stock.reserved <> coalesce(open.reserved, 0)
                 or not (0 <= stock.reserved and stock.reserved <= stock.on_hand)",
        )
        .fetch_all(&self.inventory)
        .await
        .expect("sums");
        agree(wrong.is_empty(), || format!("stock is not its ledger: {wrong:?}"))
    }

    async fn each_order_has_its_stock(&self, orders: &[(Order, BTreeSet<EventType>)]) -> Agreement {
        let held: Vec<(Uuid, String)> = sqlx::query_as("select order_id, status from reservations")
            .fetch_all(&self.inventory)
            .await
            .expect("reservations");
        each_ended(orders, held, &["committed"], &["rejected", "released"])
    }

    /// The payments ended as their orders did, and their entries sum to zero.
    async fn each_order_has_its_money(&self, orders: &[(Order, BTreeSet<EventType>)]) -> Agreement {
        let unbalanced: Vec<(String, i64)> = sqlx::query_as(
            "select currency, sum(amount_minor)::bigint from ledger_entries group by currency
             having sum(amount_minor) <> 0",
        )
        .fetch_all(&self.payment)
        .await
        .expect("sums");
        agree(unbalanced.is_empty(), || format!("the ledger does not sum to zero: {unbalanced:?}"))?;
        let payments: Vec<(Uuid, String)> = sqlx::query_as("select order_id, status from payments")
            .fetch_all(&self.payment)
            .await
            .expect("payments");
        each_ended(orders, payments, &["captured"], &["declined", "voided", "refunded"])
    }

    /// Order by order the ledger says what the processor really holds, took and gave back, each once.
    async fn the_processor_agrees(&self) -> Agreement {
        let rows: Vec<(Uuid, i64, i64, i64)> = sqlx::query_as(
            "select order_id,
                 (sum(amount_minor) filter (where account = 'authorized_holds'))::bigint,
                 coalesce(sum(amount_minor) filter (where account = 'captured_funds'), 0)::bigint,
                 coalesce(-sum(amount_minor) filter (where account = 'refunds'), 0)::bigint
             from ledger_entries group by order_id",
        )
        .fetch_all(&self.payment)
        .await
        .expect("sums");
        let ledger: BTreeMap<String, Money> =
            rows.into_iter().map(|(id, held, taken, back)| (id.to_string(), (held, taken, back))).collect();
        let (_, report) = self.shop.provider.get("/v1/report").await;
        let mut processor = BTreeMap::new();
        for item in report["items"].as_array().into_iter().flatten() {
            let number = |name: &str| item[name].as_i64().unwrap_or(i64::MIN);
            let once = number("authorizations") == 1 && number("captures") <= 1 && number("refunds") <= 1;
            agree(once, || format!("more than once: {item}"))?;
            let money = (number("held_minor"), number("captured_minor"), number("refunded_minor"));
            processor.insert(item["merchant_reference"].as_str().unwrap_or_default().to_owned(), money);
        }
        agree(ledger == processor, || format!("ledger {ledger:?}, processor {processor:?}"))
    }

    /// One notification for each order and kind that there was reason for, none of them open.
    async fn each_order_has_its_mails(&self, orders: &[(Order, BTreeSet<EventType>)]) -> Agreement {
        let kinds = [
            (EventType::OrderConfirmed, "confirmed"),
            (EventType::OrderCancelled, "cancelled"),
            (EventType::PaymentRefunded, "refunded"),
        ];
        let mut due = BTreeSet::new();
        for (order, facts) in orders {
            let of_order = kinds.iter().filter(|(fact, _)| facts.contains(fact));
            due.extend(of_order.map(|(_, kind)| (order.id.0, (*kind).to_owned())));
        }
        let rows: Vec<(Uuid, String, String)> =
            sqlx::query_as("select order_id, kind, status from notifications")
                .fetch_all(&self.notification)
                .await
                .expect("notifications");
        let open = rows.iter().find(|(.., status)| ["waiting", "queued"].contains(&status.as_str()));
        agree(open.is_none(), || format!("not sent: {open:?}"))?;
        let there: BTreeSet<_> = rows.into_iter().map(|(id, kind, _)| (id, kind)).collect();
        agree(there == due, || format!("notifications {there:?}, due {due:?}"))
    }

    async fn the_summary_is_a_recount(&self, orders: &[(Order, BTreeSet<EventType>)]) -> Agreement {
        let (_, summary) = self.shop.analytics.get("/api/v1/summary").await;
        let expected = self.recount(orders).await;
        let counted = json!({
            "orders": summary["orders"],
            "revenue": summary["revenue"],
            "notifications": summary["notifications"],
        });
        agree(counted == expected, || format!("the summary says {counted}, a recount {expected}"))
    }

    async fn recount(&self, orders: &[(Order, BTreeSet<EventType>)]) -> Value {
        let count = |status| orders.iter().filter(|(order, _)| order.status == status).count();
        let mut reasons: BTreeMap<&str, i64> = BTreeMap::new();
        for reason in orders.iter().filter_map(|(order, _)| order.reason) {
            *reasons.entry(reason.as_str()).or_default() += 1;
        }
        let sums: Vec<(String, i64, i64)> = sqlx::query_as(
            "select currency,
                 sum(case account when 'captured_funds' then amount_minor else 0 end)::bigint,
                 sum(case account when 'refunds' then -amount_minor else 0 end)::bigint
             from ledger_entries group by currency
             having count(*) filter (where account = 'captured_funds') > 0 order by currency",
        )
        .fetch_all(&self.payment)
        .await
        .expect("sums");
        let revenue = sums.into_iter().map(|(currency, captured, refunded)| {
            json!({"currency": currency, "captured_minor": captured, "refunded_minor": refunded,
                "net_minor": captured - refunded})
        });
        let (sent, failed): (i64, i64) = sqlx::query_as(
            "select count(*) filter (where status = 'sent'), count(*) filter (where status = 'failed')
             from notifications",
        )
        .fetch_one(&self.notification)
        .await
        .expect("counts");
        json!({
            "orders": {
                "placed": orders.len(),
                "pending": count(Status::Pending),
                "confirmed": count(Status::Confirmed),
                "completed": count(Status::Completed),
                "cancelled": count(Status::Cancelled),
                "cancelled_by_reason": reasons,
            },
            "revenue": revenue.collect::<Vec<_>>(),
            "notifications": {"sent": sent, "failed": failed},
        })
    }
}

/// Each order has one of these, and it ended as the order did.
fn each_ended(
    orders: &[(Order, BTreeSet<EventType>)],
    there: Vec<(Uuid, String)>,
    of_completed: &[&str],
    of_cancelled: &[&str],
) -> Agreement {
    let mut there: BTreeMap<Uuid, String> = there.into_iter().collect();
    for (order, _) in orders {
        let allowed = if order.status == Status::Completed { of_completed } else { of_cancelled };
        let status = there.remove(&order.id.0);
        let fits = status.as_deref().is_some_and(|status| allowed.contains(&status));
        agree(fits, || format!("{status:?} for {order:?}"))?;
    }
    agree(there.is_empty(), || format!("for no order: {there:?}"))
}

fn agree(agrees: bool, finding: impl FnOnce() -> String) -> Agreement {
    if agrees { Ok(()) } else { Err(finding()) }
}

//! What the command says when it cannot, or when there is nothing to do.

use system::Service;

use super::{Stage, placed_for};
use crate::environment::process;
use testkit::facts::new_order;
use testkit::fixture::{ServiceFixture, short_delays};

#[tokio::test(flavor = "multi_thread")]
async fn empty_list_is_one_line_for_one_or_all_services() {
    let mut stage = Stage::set(Service::Inventory).await;
    assert_eq!(stage.done(&["list"]).await, "there are no dead letters of inventory\n");
    assert_eq!(stage.list().await.len(), 0);
    let said = stage.done(&["replay", "--all"]).await;
    assert_eq!(said, "nothing to replay: there are no dead letters of inventory\n");
    let said = stage.done(&["list", "--history"]).await;
    assert_eq!(said, "no dead letter of inventory was replayed or discarded yet\n");
    for service in Service::with_database().filter(|service| *service != Service::Inventory) {
        if service != Service::Payment {
            ServiceFixture::take(&stage.world, service, &short_delays()).await;
        }
        let variable = format!("{}_DATABASE_URL", service.as_str().to_uppercase());
        stage.variables.insert(variable, stage.world.database_url(service.as_str()).await);
    }
    let payment = ServiceFixture::take(&stage.world, Service::Payment, &short_delays()).await;
    let replica = payment.open(stage.recorder.clone()).await;
    stage.raw_publisher.send("payment.own", &payment.events_queue(), "lost", b"lost").await;
    payment.dead_letters(1).await;
    replica.stop().await;
    let listed = process::run("sagactl", &["dead-letters", "list"], &stage.variables).await;
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 4), "{listed:?}");
    assert!(listed.stdout.contains("payment"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filter_without_a_match_replays_nothing() {
    let stage = Stage::set(Service::Inventory).await;
    stage.dead_letter(&placed_for(new_order())).await.stop().await;
    let said = stage.done(&["replay", "--all", "--older-than", "1h"]).await;
    assert!(
        said.starts_with("nothing to replay: of 1 dead letters of inventory none is old enough"),
        "{said}"
    );
    stage.fixture.dead_letters(1).await;
    let said = stage.done(&["replay", "--all", "--older-than", "1ms"]).await;
    assert_eq!(said, "to be handled again: 1 of inventory\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_id_is_refused_and_others_are_untouched() {
    let stage = Stage::set(Service::Inventory).await;
    stage.have_dead_letters(&["one".to_owned()]).await;
    let id = stage.only_id().await;
    let unknown = "01a1fe4c-0000-7000-8000-000000000001";
    for arguments in
        [&["show", unknown][..], &["replay", &id, unknown], &["discard", unknown, "--reason", "x"]]
    {
        let refused = stage.shop(arguments).await;
        refused.failed_saying(&[
            "there is no dead letter 01a1fe4c-0000-7000-8000-000000000001 of inventory",
            "sagactl dead-letters list",
        ]);
    }
    stage.shop(&["discard", &id, "--reason", " "]).await.failed_saying(&["a reason is required"]);
    assert_eq!(stage.only_id().await, id);
    assert_eq!(stage.history().await.len(), 0);
    let malformed = stage.shop(&["show", "x"]).await;
    assert_eq!(malformed.code, Some(2));
    assert!(malformed.complaints[0].contains("invalid value 'x'"), "{malformed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_server_is_named_in_one_line() {
    let mut stage = Stage::set(Service::Inventory).await;
    let mut with = |name: &str, value: &str| {
        let before = stage.variables.clone();
        stage.variables.insert(name.to_owned(), value.to_owned());
        std::mem::replace(&mut stage.variables, before)
    };
    let database_away =
        with("INVENTORY_DATABASE_URL", "postgres://inventory:inventory@127.0.0.1:1/inventory");
    let empty = stage.world.database_url("payment").await;
    let list = ["dead-letters", "list", "--service", "inventory"];
    let said = process::run("sagactl", &list, &database_away).await;
    said.failed_saying(&["cannot open the database of inventory", "its URL right"]);
    stage.variables.insert("PAYMENT_DATABASE_URL".to_owned(), empty);
    let list = ["dead-letters", "list", "--service", "payment"];
    let said = process::run("sagactl", &list, &stage.variables).await;
    said.failed_saying(&["the database of payment is not up to date", "start the service"]);
}

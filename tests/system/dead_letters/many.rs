//! Many dead letters, and two people at once.

use std::collections::BTreeSet;

use serde_json::Value;
use system::Service;

use super::Stage;

/// What each of the actions or dead letters has under the name.
fn all(name: &str, values: &[Value]) -> BTreeSet<String> {
    values.iter().filter_map(|value| value[name].as_str().map(str::to_owned)).collect()
}

fn numbers(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| number.to_string()).collect()
}

async fn fill(stage: &Stage, count: usize) {
    stage.have_dead_letters(&Vec::from_iter(numbers(count))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_1000_is_complete_and_removes_none() {
    let stage = Stage::set(Service::Inventory).await;
    fill(&stage, 1000).await;
    let listed = stage.list().await;
    assert_eq!((listed.len(), all("message_id", &listed)), (1000, numbers(1000)));
    assert_eq!(all("id", &listed).len(), 1000, "each has an id of its own");
    assert_eq!(all("id", &stage.list().await), all("id", &listed), "and keeps it");
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_of_all_is_recorded_for_each() {
    let stage = Stage::set(Service::Inventory).await;
    fill(&stage, 250).await;
    assert_eq!(stage.done(&["replay", "--all"]).await, "to be handled again: 250 of inventory\n");
    assert!(stage.list().await.is_empty());
    let waiting: Vec<Value> =
        serde_json::from_str(&stage.done(&["list", "--waiting", "--json"]).await).expect("JSON");
    assert_eq!(all("message_id", &waiting), numbers(250));
    let history = stage.history().await;
    assert_eq!((history.len(), all("message_id", &history)), (250, numbers(250)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_act_on_each_dead_letter_once() {
    let stage = Stage::set(Service::Inventory).await;
    fill(&stage, 50).await;
    let all_of_them = ["replay", "--all"];
    let (one, other) = tokio::join!(stage.shop(&all_of_them), stage.shop(&all_of_them));
    assert_eq!((one.code, other.code), (Some(0), Some(0)), "{one:?} {other:?}");
    let history = stage.history().await;
    assert_eq!((history.len(), all("message_id", &history)), (50, numbers(50)));
}

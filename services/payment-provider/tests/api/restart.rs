//! A journal keeps everything over a restart.

use std::fs;

use payment_provider::Config;
use tokio_util::sync::CancellationToken;

use crate::support::{Provider, check_problem, listeners, quick};

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let before = Provider::with_journal(&path).await;
    let hold = before.authorize("hold", "pm_card_visa").await;
    let declined = before.authorize("no", "pm_card_declined").await;
    let id = hold.body["id"].as_str().unwrap();
    before.change("take", id, "capture").await;
    before.authorize("late", "pm_timeout_once").await;
    let report = before.get("/v1/report").await;
    before.stop().await;

    let after = Provider::with_journal(&path).await;
    assert_eq!(after.get("/v1/report").await, report);
    assert_eq!(after.authorize("hold", "pm_card_visa").await, hold);
    assert_eq!(after.authorize("no", "pm_card_declined").await, declined);
    assert_eq!(after.authorize("late", "pm_timeout_once").await.status, 201);
    check_problem(&after.authorize("take", "pm_card_visa").await, 422, "idempotency-mismatch");
    assert_eq!(after.change("back", id, "refund").await.body["status"], "refunded");
    after.stop().await;

    let again = Provider::with_journal(&path).await;
    assert_eq!(again.totals().await, (500, 500, 500));
}

#[tokio::test]
async fn a_last_line_that_was_cut_short_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let before = Provider::with_journal(&path).await;
    before.authorize("first", "pm_card_visa").await;
    before.authorize("second", "pm_card_visa").await;
    before.stop().await;
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 7]).unwrap();

    let after = Provider::with_journal(&path).await;
    assert_eq!(after.totals().await, (500, 0, 0));
    after.authorize("third", "pm_card_visa").await;
    after.stop().await;
    let again = Provider::with_journal(&path).await;
    assert_eq!(again.totals().await, (1000, 0, 0));
}

#[tokio::test]
async fn a_journal_that_cannot_be_used_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let start = async || {
        let config = Config { journal_path: Some(path.clone()), ..quick() };
        let error =
            payment_provider::run(config, listeners().await, CancellationToken::new()).await.unwrap_err();
        let line = format!("{error:#}");
        assert!(line.contains(path.to_str().unwrap()), "{line}");
        line
    };
    fs::write(&path, "{}\n").unwrap();
    assert!(start().await.contains("line 1 is damaged"));

    fs::remove_file(&path).unwrap();
    let running = Provider::with_journal(&path).await;
    running.authorize("hold", "pm_card_visa").await;
    assert!(start().await.contains("is in use by another process"));
    running.stop().await;

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    start().await;
}

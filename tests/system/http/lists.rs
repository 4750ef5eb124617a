//! Lists: pages follow each other without gap or repeat, and filters keep what they say.

use std::collections::BTreeSet;
use system::Service;

use crate::shop::Shop;
use crate::shop::{order_of, place_at};
use serde_json::{Value, json};
use testkit::running::Running;

use super::{list_products, refused};

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_no_gap_and_no_repeat() {
    let shop = Shop::open().await;
    let skus: Vec<String> = (0..7).map(|number| format!("SKU-{number}")).collect();
    let products: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 1000, "EUR")).collect();
    list_products(&shop, &products).await;
    let mut placed = Vec::new();
    for sku in &skus {
        placed.push(shop.place(sku, 1, "pm_card_visa").await);
    }
    shop.check().await;
    placed.reverse();
    for limit in [1, 3, 7, 200] {
        assert_eq!(walk(&shop[Service::Order], "/api/v1/orders", "id", limit).await, placed, "newest first");
        assert_eq!(walk(&shop[Service::Order], "/api/v1/orders?status=cancelled", "id", limit).await, placed);
        assert_eq!(
            walk(&shop[Service::Order], "/api/v1/orders?customer_id=customer-1", "id", limit).await,
            placed
        );
        assert_eq!(walk(&shop[Service::Payment], "/api/v1/payments", "order_id", limit).await, placed);
        assert_eq!(walk(&shop[Service::Inventory], "/api/v1/products", "sku", limit).await, skus);
        let mails = walk(&shop[Service::Notification], "/api/v1/notifications", "order_id", limit).await;
        assert_eq!(sorted(&mails), sorted(&placed));
        assert_eq!(mails.len(), placed.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_return_matching_rows_only() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let of = async |customer: &str, method: &str| {
        let mut order = order_of("BEANS", 1, method);
        order["customer"]["id"] = json!(customer);
        place_at(&shop[Service::Order], &order).await["id"].as_str().expect("an id").to_owned()
    };
    let completed = of("ada", "pm_card_visa").await;
    shop.order_is(&completed, "completed").await;
    let ada = of("ada", "pm_card_declined").await;
    let grace = of("grace", "pm_card_declined").await;
    shop.check().await;

    let nobody: [&str; 0] = [];
    let orders =
        async |query: &str| walk(&shop[Service::Order], &format!("/api/v1/orders?{query}"), "id", 200).await;
    assert_eq!(orders("status=completed").await, [completed.as_str()]);
    assert_eq!(orders("status=cancelled").await, [grace.as_str(), &ada]);
    assert_eq!(orders("customer_id=ada").await, [ada.as_str(), &completed]);
    assert_eq!(orders("customer_id=ada&status=cancelled").await, [ada.as_str()]);
    assert_eq!(orders("customer_id=nobody").await, nobody);
    assert_eq!(orders("status=pending").await, nobody);
    let payments = async |query: &str| {
        walk(&shop[Service::Payment], &format!("/api/v1/payments?{query}"), "order_id", 200).await
    };
    assert_eq!(payments("status=captured").await, [completed.as_str()]);
    assert_eq!(payments("status=refunded").await, nobody);
    let mails = format!("/api/v1/notifications?order_id={ada}");
    assert_eq!(walk(&shop[Service::Notification], &mails, "kind", 200).await, ["cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_of_another_list_or_filter_is_refused() {
    let shop = Shop::open().await;
    list_products(&shop, &[("BEANS", 1000, "EUR"), ("CUPS", 1000, "EUR")]).await;
    for _ in 0..2 {
        shop.place("BEANS", 1, "pm_card_visa").await;
    }
    shop.check().await;
    let lists = [
        (Service::Order, "/api/v1/orders?"),
        (Service::Order, "/api/v1/orders?status=cancelled"),
        (Service::Order, "/api/v1/orders?status=cancelled&customer_id=customer-1"),
        (Service::Payment, "/api/v1/payments?"),
        (Service::Payment, "/api/v1/payments?status=voided"),
        (Service::Notification, "/api/v1/notifications?"),
        (Service::Inventory, "/api/v1/products?"),
    ];
    for (service, list) in lists {
        let (_, page) = shop[service].get(&format!("{list}&limit=1")).await;
        let cursor = page["next_cursor"].as_str().expect("two of each");
        let (status, next) = shop[service].get(&format!("{list}&cursor={cursor}")).await;
        assert_eq!(status, 200, "{list}: {next}");
        for (other, another) in lists.iter().filter(|(_, another)| *another != list) {
            let request = shop[*other].request("GET", &format!("{another}&cursor={cursor}"));
            refused(&format!("{another} with the cursor of {list}"), request, 400, "malformed").await;
        }
    }
}

/// A member of each item of a list, page by page.
async fn walk(service: &Running, list: &str, member: &str, limit: usize) -> Vec<String> {
    let joint = if list.contains('?') { '&' } else { '?' };
    let mut path = format!("{list}{joint}limit={limit}");
    let mut walked = Vec::new();
    loop {
        let (status, page) = service.get(&path).await;
        assert_eq!(status, 200, "{path}: {page}");
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= limit, "{path}: {page}");
        walked.extend(items.iter().map(|item| item[member].as_str().expect(member).to_owned()));
        let Value::String(cursor) = &page["next_cursor"] else {
            assert_eq!(page["next_cursor"], Value::Null);
            return walked;
        };
        assert_eq!(items.len(), limit, "only the last page is shorter");
        path = format!("{list}{joint}limit={limit}&cursor={cursor}");
    }
}

fn sorted(texts: &[String]) -> BTreeSet<&str> {
    texts.iter().map(String::as_str).collect()
}

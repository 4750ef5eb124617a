//! `sagactl place`: one order.

use std::process::ExitCode;

use anyhow::{Context, Result};
use contracts::{PaymentMethod, Quantity, Sku};
use devstack::print;
use serde::Deserialize;

use system::Service;

use crate::urls::{Http, Urls};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to order: a SKU, or a SKU and a quantity, such as ESPRESSO-1KG=2; repeat it for more lines
    #[arg(long = "sku", required = true, value_name = "SKU[=QUANTITY]", value_parser = line)]
    lines: Vec<(String, u32)>,
    /// A token that the card processor knows, such as pm_card_visa, pm_card_declined or pm_capture_fails
    #[arg(long, default_value = "pm_card_visa")]
    payment_method: PaymentMethod,
    /// The customer's id
    #[arg(long, default_value = "customer-1")]
    customer: String,
    /// The customer's mail address
    #[arg(long, default_value = "ada@example.com")]
    email: String,
    #[command(flatten)]
    urls: Urls<Http>,
}

fn line(text: &str) -> Result<(String, u32), String> {
    let (sku, quantity) = text.split_once('=').unwrap_or((text, "1"));
    let sku = sku.parse::<Sku>().map_err(|error| error.to_string())?;
    let quantity: i64 = quantity.parse().map_err(|_| format!("{quantity:?} is not a number"))?;
    let quantity = Quantity::try_from(quantity).map_err(|error| error.to_string())?;
    Ok((sku.to_string(), quantity.get().unsigned_abs()))
}

#[derive(Deserialize)]
struct Placed {
    id: String,
    status: String,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let order = loadgen::order_body(&args.customer, &args.email, &args.lines, args.payment_method.as_str());
    let url = format!("{}/api/v1/orders", args.urls.of(Service::Order));
    let request = reqwest::Client::new().post(url).json(&order);
    let placed: Placed =
        loadgen::answer(request.header("Idempotency-Key", runtime::clock::new_id().to_string()))
            .await
            .context("the order was not accepted")?;
    print(&format!("{}  {}", placed.id, placed.status));
    print(&format!("follow it: sagactl timeline {}", placed.id));
    Ok(ExitCode::SUCCESS)
}

//! Who answers at the addresses of the services.

use futures::future::join_all;
use reqwest::{Client, Url};

use super::Asked;
use super::clock::Offset;
use super::http::{self, Answer};

#[derive(Debug)]
pub(super) struct Site {
    pub(super) service: String,
    /// Its clock, if the service itself answers; otherwise what is wrong.
    pub(super) answer: Asked<Option<Offset>>,
}

pub(super) async fn visit(client: &Client, services: &[(String, String)]) -> Vec<Site> {
    join_all(services.iter().map(|(service, url)| async move {
        Site { service: service.clone(), answer: ask(client, service, url).await }
    }))
    .await
}

async fn ask(client: &Client, service: &str, base: &str) -> Asked<Option<Offset>> {
    let url: Url = format!("{}/health/live", base.trim_end_matches('/'))
        .parse()
        .map_err(|error| format!("{service} cannot be at {base}, which is not a URL: {error}"))?;
    let holder = || holder(&url).map_or_else(String::new, |holder| format!("; {holder}"));
    match http::get(client, url.clone()).await {
        Ok(answer) => match who(&answer) {
            Some(who) if who == service => Ok(answer.offset),
            who => {
                Err(format!("{base} is not {service} but {}{}", who.unwrap_or("another program"), holder()))
            }
        },
        Err(error) => Err(format!("{service} does not answer at {base} ({error}{})", holder())),
    }
}

fn who(answer: &Answer) -> Option<&str> {
    answer.body["service"].as_str().filter(|_| answer.status.is_success() && answer.body["status"] == "live")
}

/// Which process listens there, if that is this machine.
fn holder(url: &Url) -> Option<String> {
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    url.port_or_known_default().filter(|_| local).and_then(devstack::port_holder)
}

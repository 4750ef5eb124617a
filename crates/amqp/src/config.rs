//! How a service reaches the broker, and how many messages it takes at once.

use std::str::FromStr;

use lapin::uri::AMQPUri;
use secrecy::SecretString;
use url::Url;

/// The default of [`BrokerConfig::batch`].
pub const BATCH: u16 = 250;

#[derive(Debug, Clone, clap::Args)]
pub struct BrokerConfig {
    /// URL of the broker with user, password and vhost, such as amqp://order:secret@localhost:5672/shop.
    #[arg(long, env = "AMQP_URL", hide_env_values = true, value_parser = amqp_url)]
    pub amqp_url: SecretString,

    /// URL of the broker's management API with user and password, such as http://order:secret@localhost:15672;
    /// it is asked for the bindings, before events are published and for readiness.
    #[arg(id = "RABBITMQ_MANAGEMENT_URL", long = "rabbitmq-management-url", env = "RABBITMQ_MANAGEMENT_URL")]
    #[arg(hide_env_values = true, value_parser = management_url)]
    pub management_url: SecretString,

    /// The most messages that are handled in one transaction; twice as many are prefetched.
    #[arg(id = "CONSUMER_BATCH", long = "consumer-batch", env = "CONSUMER_BATCH", default_value_t = BATCH)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
}

fn amqp_url(text: &str) -> Result<SecretString, String> {
    secret_url::<AMQPUri>(text, "amqp")
}

fn management_url(text: &str) -> Result<SecretString, String> {
    secret_url::<Url>(text, "http")
}

/// The parsers' own errors may repeat a part of the URL; the password must not reach a log.
fn secret_url<T: FromStr>(text: &str, scheme: &str) -> Result<SecretString, String> {
    if text.starts_with(&format!("{scheme}s://")) {
        return Err(format!("it asks for TLS, which this build does not speak: use {scheme}://"));
    }
    if !text.starts_with(&format!("{scheme}://")) {
        return Err(format!("it does not begin with {scheme}://"));
    }
    text.parse::<T>().map_err(|_| "it is not a valid URL".to_owned())?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_url_is_refused_without_showing_its_password() {
        assert!(amqp_url("amqp://order:hush@localhost/shop").is_ok());
        assert!(management_url("http://order:hush@localhost:15672").is_ok());
        for (url, parse) in [
            ("http://order:hush@localhost", amqp_url as fn(&str) -> _),
            ("amqp://order:hush@local host", amqp_url),
            ("amqps://order:hush@localhost", amqp_url),
            ("https://order:hush@localhost:15672", management_url),
            ("amqp://order:hush@localhost", management_url),
            ("http://order:hush@local host", management_url),
        ] {
            let refusal = parse(url).expect_err(url);
            assert!(refusal.starts_with("it ") && !refusal.contains("hush"), "{refusal}");
        }
    }
}

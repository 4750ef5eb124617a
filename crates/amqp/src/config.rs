//! How a service reaches the broker, how many messages it takes at once, and when it retries one.

use std::{fmt, str::FromStr, time::Duration};

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

    /// How long a message that failed waits before each further attempt, 1ms to 24h; after the last it is a dead letter.
    /// Part of the topology: use the same for `sagactl topology apply` and the service.
    #[arg(long, env = "RETRY_DELAYS", default_value = "1s,10s,60s")]
    pub retry_delays: RetryDelays,
}

/// The retry delays: at least one, each of whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryDelays(Vec<Duration>);

impl RetryDelays {
    pub fn as_slice(&self) -> &[Duration] {
        &self.0
    }
}

impl Default for RetryDelays {
    fn default() -> Self {
        Self([1, 10, 60].map(Duration::from_secs).to_vec())
    }
}

impl FromStr for RetryDelays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let delay = runtime::config::duration(Duration::from_millis(1)..=Duration::from_hours(24));
        text.split(',').map(|part| delay(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for RetryDelays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|delay| delay_name(*delay)).collect();
        f.write_str(&names.join(","))
    }
}

/// A delay as it appears in the name of its queue: `10s`, or `250ms` when it is not of whole seconds.
pub fn delay_name(delay: Duration) -> String {
    match delay.subsec_millis() {
        0 => format!("{}s", delay.as_secs()),
        _ => format!("{}ms", delay.as_millis()),
    }
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
    fn delays_are_parsed_as_they_are_shown() {
        for text in ["1s,10s,60s", "250ms", "20ms,1s"] {
            assert_eq!(text.parse::<RetryDelays>().expect(text).to_string(), text);
        }
        assert_eq!("1m".parse::<RetryDelays>().expect("a minute").to_string(), "60s");
        for text in ["", "0s", "1s,,2s", "1s,25h", "fast"] {
            assert!(text.parse::<RetryDelays>().is_err(), "{text:?}");
        }
    }

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

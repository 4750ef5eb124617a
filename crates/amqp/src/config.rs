//! How a service reaches the broker, and how many messages it takes at once.

use lapin::uri::AMQPUri;
use secrecy::SecretString;

/// The default of [`BrokerConfig::batch`].
pub const BATCH: u16 = 250;

#[derive(Debug, Clone, clap::Args)]
pub struct BrokerConfig {
    /// URL of the broker with user, password and vhost, such as amqp://order:secret@localhost:5672/shop.
    #[arg(long, env = "AMQP_URL", hide_env_values = true, value_parser = amqp_url)]
    pub amqp_url: SecretString,

    /// The most messages that are handled in one transaction; twice as many are prefetched.
    #[arg(id = "CONSUMER_BATCH", long = "consumer-batch", env = "CONSUMER_BATCH", default_value_t = BATCH)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
}

/// The parser's own error may repeat a part of the URL; the password must not reach a log.
fn amqp_url(text: &str) -> Result<SecretString, String> {
    if text.starts_with("amqps://") {
        return Err("it asks for TLS, which this build does not speak: use amqp://".to_owned());
    }
    if !text.starts_with("amqp://") {
        return Err("it does not begin with amqp://".to_owned());
    }
    text.parse::<AMQPUri>().map_err(|_| "it cannot be parsed".to_owned())?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_url_is_refused_without_showing_its_password() {
        assert!(amqp_url("amqp://order:hush@localhost/shop").is_ok());
        for url in
            ["http://order:hush@localhost", "amqp://order:hush@local host", "amqps://order:hush@localhost"]
        {
            let refusal = amqp_url(url).expect_err(url);
            assert!(refusal.starts_with("it ") && !refusal.contains("hush"), "{refusal}");
        }
    }
}

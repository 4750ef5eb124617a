//! The services as this program runs them: built with their crash points, each in a process of its own.

use std::env;
use std::process::ExitCode;

/// Names the service that this program is to be, instead of the `shop` command.
pub const VARIABLE: &str = "CHAOS_SERVICE";

/// The card processor's name, which is no service's.
pub(super) const PROVIDER: &str = "payment-provider";

/// Runs the service that the environment names, if it names one, until it ends.
pub async fn run() -> Option<ExitCode> {
    macro_rules! run {
        ($service:ident) => {{
            let config = runtime::config::parse::<$service::Config>();
            let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
            let name = stringify!($service);
            runtime::main(name, telemetry, listen, |listener, shutdown| {
                $service::run(config, listener, shutdown)
            })
            .await
        }};
    }
    let name = env::var(VARIABLE).ok()?;
    Some(match name.as_str() {
        "order" => run!(order),
        "payment" => run!(payment),
        "inventory" => run!(inventory),
        "notification" => run!(notification),
        "analytics" => run!(analytics),
        _ => run!(payment_provider),
    })
}

//! The sockets of a service.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::config::HttpConfig;

/// The sockets on which a service serves HTTP.
#[derive(Debug)]
pub struct Listeners {
    /// For its clients.
    pub http: TcpListener,
    /// For health and metrics, which are to be answered while `http` is full.
    pub operations: TcpListener,
}

impl Listeners {
    /// # Errors
    /// When a port is taken; the message names the variable.
    pub async fn bind(config: &HttpConfig) -> anyhow::Result<Self> {
        let operations = config.operations().with_context(|| {
            format!("no port is 1000 above that of {}: set OPERATIONS_LISTEN", config.listen)
        })?;
        Ok(Self {
            http: listen(config.listen, "HTTP_LISTEN").await?,
            operations: listen(operations, "OPERATIONS_LISTEN").await?,
        })
    }
}

async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: free the port, or set {variable} to another"))
}

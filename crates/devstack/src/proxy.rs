//! A TCP proxy on a link between two processes, which injects network faults.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ports;

const CHUNK: usize = 16 * 1024;
/// Chunks that are on their way at once.
const IN_FLIGHT: usize = 256;
/// A slow network hands on so many bytes per interval.
const SLOW_PACKET: usize = 1_024;
const SLOW_INTERVAL: Duration = Duration::from_millis(20);
/// What Postgres answers to a COMMIT: a CommandComplete, see its documentation of the message formats.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum NetworkFault {
    /// Every connection is cut, and each new one at once.
    Cut,
    /// Nothing goes through in either direction, and connections stay open.
    Blackhole,
    /// As [`Self::Blackhole`] for the connections that there are; new ones are sound.
    StaleConnections,
    /// What the client sends goes through, and no answer comes back.
    OneWay,
    /// Everything arrives that much later, in the order in which it was sent.
    Latency(Duration),
    /// At most 50 KB a second go through, in each direction of each connection.
    Slow,
    /// A connection is cut after Postgres has committed, before the client knows.
    CommitUnanswered,
}

/// A proxy before one server; its connections are cut when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Option<NetworkFault>>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub async fn before(target: impl ToSocketAddrs) -> Result<Self> {
        let target = lookup_host(target).await?.collect();
        let listener = TcpListener::bind(ports::local(0)).await?;
        let address = listener.local_addr()?;
        let fault = watch::Sender::new(None);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, fault.subscribe()));
        Ok(Self { address, fault, _task: task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Injects a fault, which lasts until another one or [`Self::restore`].
    pub fn inject(&self, fault: NetworkFault) {
        self.fault.send_replace(Some(fault));
    }

    /// Ends the fault. What was held back goes on where it was.
    pub fn restore(&self) {
        self.fault.send_replace(None);
    }
}

/// The fault of the moment, as one connection meets it.
#[derive(Debug, Clone)]
struct Network {
    fault: watch::Receiver<Option<NetworkFault>>,
    /// Whether the connection was made during [`NetworkFault::StaleConnections`].
    is_new: bool,
}

impl Network {
    fn fault(&self) -> Option<NetworkFault> {
        *self.fault.borrow()
    }

    /// Waits while nothing goes through in the direction; an error when the proxy is gone.
    async fn wait_until_open(&mut self, direction: Direction) -> Result<()> {
        let is_new = self.is_new;
        let is_open = |fault: &Option<NetworkFault>| match fault {
            Some(NetworkFault::Blackhole) => false,
            Some(NetworkFault::StaleConnections) => is_new,
            Some(NetworkFault::OneWay) => direction == Direction::ToServer,
            _ => true,
        };
        self.fault.wait_for(is_open).await?;
        Ok(())
    }
}

async fn serve(listener: TcpListener, target: Vec<SocketAddr>, fault: watch::Receiver<Option<NetworkFault>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let current = *fault.borrow();
        if current != Some(NetworkFault::Cut) {
            let is_new = current == Some(NetworkFault::StaleConnections);
            connections.spawn(connection(near, target.clone(), Network { fault: fault.clone(), is_new }));
        }
    }
}

/// Hands on what both sides send until one of them ends, or the connection is cut.
async fn connection(near: TcpStream, target: Vec<SocketAddr>, network: Network) {
    let Ok(far) = TcpStream::connect(&target[..]).await else { return };
    // Nagle's algorithm would delay what nobody asked to be delayed.
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut fault = network.fault.clone();
    tokio::select! {
        _ = fault.wait_for(|fault| *fault == Some(NetworkFault::Cut)) => {}
        () = pump(near_in, far_out, network.clone(), Direction::ToServer) => {}
        () = pump(far_in, near_out, network, Direction::ToClient) => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// One direction: a reader that stamps each chunk with the time when it is due, and a writer that waits until then.
async fn pump(mut from: OwnedReadHalf, to: OwnedWriteHalf, network: Network, direction: Direction) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let reading = network.clone();
    let read = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length) = from.read(&mut buffer).await {
            let fault = reading.fault();
            let answers_commit = direction == Direction::ToClient
                && buffer[..length].windows(COMMITTED.len()).any(|window| window == COMMITTED);
            if length == 0 || (fault == Some(NetworkFault::CommitUnanswered) && answers_commit) {
                break;
            }
            let latency =
                if let Some(NetworkFault::Latency(latency)) = fault { latency } else { Duration::ZERO };
            if sender.send((Instant::now() + latency, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
        // What was read before the end still goes out.
        drop(sender);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = write(to, receiver, network, direction) => {}
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut network: Network,
    direction: Direction,
) {
    while let Some((due, chunk)) = chunks.recv().await {
        sleep_until(due).await;
        if network.wait_until_open(direction).await.is_err() {
            return;
        }
        for packet in chunk.chunks(SLOW_PACKET) {
            if network.fault() == Some(NetworkFault::Slow) {
                sleep(SLOW_INTERVAL).await;
            }
            if to.write_all(packet).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

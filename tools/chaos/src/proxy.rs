//! A TCP proxy between two parts, and what can be wrong with the network there.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

const CHUNK: usize = 16 * 1024;
/// Chunks that are on their way at once, at the most.
const IN_FLIGHT: usize = 256;
/// A slow network hands on so much at a time.
const DROP: usize = 1_024;
const DROP_INTERVAL: Duration = Duration::from_millis(20);
/// What Postgres answers to a COMMIT: a CommandComplete, see its documentation of the message formats.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Every connection is cut, and each new one at once.
    Cut,
    /// Nothing goes through in either direction, and nobody is told.
    Blackhole,
    /// What the client says goes through, and no answer comes back.
    OneWay,
    /// Everything comes that much later, in the order in which it was sent.
    Latency(Duration),
    /// At most 50 KB a second go through, in each direction of each connection.
    Slow,
    /// A connection is cut when Postgres has committed, before it can say so.
    CommitUnanswered,
}

/// A proxy before one address; what goes through it is cut when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    trouble: watch::Sender<Option<Trouble>>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// A proxy on a port of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn before(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(devstack::local_address(0)).await?;
        let address = listener.local_addr()?;
        let trouble = watch::Sender::new(None);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, trouble.subscribe()));
        Ok(Self { address, trouble, _task: task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this is wrong with the network, or nothing.
    pub fn set(&self, trouble: Option<Trouble>) {
        self.trouble.send_replace(trouble);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, trouble: watch::Receiver<Option<Trouble>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        if *trouble.borrow() != Some(Trouble::Cut) {
            connections.spawn(connection(near, target, trouble.clone()));
        }
    }
}

/// Hands on what both sides say until one of them ends, or the connection is cut.
async fn connection(near: TcpStream, target: SocketAddr, trouble: watch::Receiver<Option<Trouble>>) {
    let Ok(dependency) = TcpStream::connect(target).await else { return };
    // A pause of the algorithm of Nagle would be trouble that nobody ordered.
    if near.set_nodelay(true).is_err() || dependency.set_nodelay(true).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), dependency.into_split());
    let mut cut = trouble.clone();
    tokio::select! {
        _ = cut.wait_for(|trouble| *trouble == Some(Trouble::Cut)) => {}
        () = pump(near_in, far_out, trouble.clone(), Direction::ToServer) => {}
        () = pump(far_in, near_out, trouble, Direction::ToClient) => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// One direction: a reader that says when each chunk is due, and a writer that waits until then.
async fn pump(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    trouble: watch::Receiver<Option<Trouble>>,
    direction: Direction,
) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let now = trouble.clone();
    let read = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length) = from.read(&mut buffer).await {
            let trouble = *now.borrow();
            let answers_commit = direction == Direction::ToClient
                && buffer[..length].windows(COMMITTED.len()).any(|window| window == COMMITTED);
            if length == 0 || (trouble == Some(Trouble::CommitUnanswered) && answers_commit) {
                break;
            }
            let late = if let Some(Trouble::Latency(late)) = trouble { late } else { Duration::ZERO };
            if sender.send((Instant::now() + late, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
        // What was read before the end still goes out.
        drop(sender);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = write(to, receiver, trouble, direction) => {}
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut trouble: watch::Receiver<Option<Trouble>>,
    direction: Direction,
) {
    while let Some((due, chunk)) = chunks.recv().await {
        sleep_until(due).await;
        let passes = |trouble: &Option<Trouble>| match trouble {
            Some(Trouble::Blackhole) => false,
            Some(Trouble::OneWay) => direction == Direction::ToServer,
            _ => true,
        };
        if trouble.wait_for(passes).await.is_err() {
            return;
        }
        for drop in chunk.chunks(DROP) {
            if *trouble.borrow() == Some(Trouble::Slow) {
                sleep(DROP_INTERVAL).await;
            }
            if to.write_all(drop).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! A network between a service and a server that can fall silent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Hands on what two sides say, until it falls silent; nobody is told.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    silent: Silent,
    _task: JoinSet<()>,
}

/// What is not handed on, by who says it.
#[derive(Debug, Clone)]
struct Silent {
    near: watch::Sender<Network>,
    dependency: watch::Sender<Network>,
}

/// What becomes of what one side says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Sound,
    Silent,
    /// Silent for the connections that were there before.
    SoundForNew,
}

impl Proxy {
    /// A proxy before the given host and port.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let silent = Silent {
            near: watch::Sender::new(Network::Sound),
            dependency: watch::Sender::new(Network::Sound),
        };
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, silent.clone()));
        Self { address, silent, _task: task }
    }

    /// Hands on nothing more, and keeps every connection open.
    pub fn fall_silent(&self) {
        self.silent.near.send_replace(Network::Silent);
        self.silent.dependency.send_replace(Network::Silent);
    }

    /// Hands on what the near side says, and no answer.
    pub fn lose_answers(&self) {
        self.silent.dependency.send_replace(Network::Silent);
    }

    /// Hands on nothing more for the connections that are there, and keeps them open; new ones are sound.
    pub fn forget_connections(&self) {
        self.silent.near.send_replace(Network::SoundForNew);
        self.silent.dependency.send_replace(Network::SoundForNew);
    }

    /// Cuts what was silent, and hands on again.
    pub fn heal(&self) {
        self.silent.near.send_replace(Network::Sound);
        self.silent.dependency.send_replace(Network::Sound);
    }
}

async fn serve(listener: TcpListener, target: String, silent: Silent) {
    let mut pumps = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.expect("a connection");
        let dependency = TcpStream::connect(&target).await.expect("the target answers");
        let ((near_in, near_out), (far_in, far_out)) = (split(near), split(dependency));
        pumps.spawn(pump(near_in, far_out, silent.near.subscribe()));
        pumps.spawn(pump(far_in, near_out, silent.dependency.subscribe()));
    }
}

async fn pump(
    mut from: ReadHalf<TcpStream>,
    mut to: WriteHalf<TcpStream>,
    mut silent: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            _ = silent.changed() => break,
            read = from.read(&mut buffer) => read,
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(length) if to.write_all(&buffer[..length]).await.is_err() => break,
            Ok(_) => {}
        }
    }
    let _ = silent.wait_for(|network| *network == Network::Sound).await;
    let _ = to.shutdown().await;
}

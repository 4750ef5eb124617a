//! The connections of a listener: how many are open at once, how long one may say nothing, and how they end.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::head::{Counted, HeadProgress, HeadTimer};

/// Most open connections of clients. More wait in the system's queue for one to be closed.
pub(super) const OPEN: usize = 4_096;

/// Most open connections of operators.
pub(super) const OPERATIONS_OPEN: usize = 128;

/// Files beside the connections of clients: those of operators, to database and broker, and some for everything else.
const OTHER_FILES: u64 = 512;

/// Most bytes of a head, from the method to the empty line.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// How long a client that has just connected has to send something when the listener stops.
const FIRST_BYTE: Duration = Duration::from_millis(500);

/// How many connections may wait to be accepted when the listener stops.
const BACKLOG: usize = 1_024;

/// What the clients of one listener may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most open connections.
    pub(super) open: usize,
    /// The time of a whole head.
    pub(super) head: Duration,
    /// How long nothing may come from a client, or be taken by it.
    pub(super) silence: Duration,
}

/// Lets the process have as many files open as it may have connections, where the system's hard limit allows it: the
/// limit that most shells and containers start with, 1,024, is for programs that use `select`.
pub(super) fn allow_files() {
    let wanted = u64::try_from(OPEN).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let Some(now) = limit.current.filter(|now| *now < wanted) else { return };
    let allowed = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if allowed < wanted {
        tracing::warn!(allowed, wanted, "few files may be open: raise the hard limit (ulimit -Hn)");
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..limit }) {
        tracing::warn!(now, wanted, %error, "the limit of open files stays as it is");
    }
}

/// Serves `app` until `stop`. Then it accepts what is connected already, closes what is idle, and returns when all others
/// have got their answers. To drop it closes every connection at once.
pub(super) async fn serve(mut listener: TcpListener, app: Router, limits: Limits, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(limits.open));
    let mut connections = JoinSet::new();
    let serve_one = |(stream, place): Accepted| {
        let connection = connection(stream, app.clone(), limits, stop.clone());
        async move {
            connection.await;
            drop(place);
        }
    };
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = accept(&mut listener, &free) => { connections.spawn(serve_one(accepted)); }
            () = stop.cancelled() => break,
        }
    }
    // Closing the socket would reset those that wait to be accepted.
    for _ in 0..BACKLOG {
        tokio::select! {
            biased;
            accepted = accept(&mut listener, &free) => { connections.spawn(serve_one(accepted)); }
            () = tokio::task::yield_now() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection, and its place among those that may be open.
type Accepted = (TcpStream, Option<OwnedSemaphorePermit>);

async fn accept(listener: &mut TcpListener, free: &Arc<Semaphore>) -> Accepted {
    // Nobody closes the semaphore.
    let place = free.clone().acquire_owned().await.ok();
    let (stream, client) = Listener::accept(listener).await;
    // Answers are written in one piece: nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%client, %error, "TCP_NODELAY stays off");
    }
    (stream, place)
}

async fn connection(stream: TcpStream, app: Router, limits: Limits, stop: CancellationToken) {
    let progress = HeadProgress::default();
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(limits.silence));
    stream.set_write_timeout(Some(limits.silence));
    let io = TokioIo::new(Counted { stream: Box::pin(stream), progress: progress.clone() });
    let head = progress.clone();
    let app = app.map_request(move |request: Request<Incoming>| {
        head.end();
        request.map(Body::new)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(HeadTimer { limit: limits.head, progress: progress.clone() })
            .header_read_timeout(limits.head)
            .max_header_size(HEAD_LIMIT_BYTES)
            .max_buf_size(HEAD_LIMIT_BYTES)
            .serve_connection(io, TowerToHyperService::new(app))
    );
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopped(&stop, &progress) => {
            // A request whose head is under way is answered, and closes the connection with its answer.
            if !progress.is_under_way() {
                connection.as_mut().graceful_shutdown();
            }
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended");
    }
}

async fn stopped(stop: &CancellationToken, progress: &HeadProgress) {
    stop.cancelled().await;
    if progress.is_new() {
        tokio::time::sleep(FIRST_BYTE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::{
        io::{self, AsyncReadExt, AsyncWriteExt},
        time::{Instant, timeout},
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);
    const SILENCE: Duration = Duration::from_secs(1);
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: it\r\n\r\n";

    /// Runs `clients`, who are told the address, against a server.
    async fn with_server(open: usize, clients: impl AsyncFnOnce(SocketAddr)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().route("/", get(|| async { "here" }));
        let limits = Limits { open, head: Duration::from_secs(10), silence: SILENCE };
        tokio::select! {
            () = serve(listener, app, limits, CancellationToken::new()) => unreachable!("it serves for good"),
            done = timeout(DEADLINE, clients(address)) => done.expect("it does not take for ever"),
        }
    }

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(ASK).await.expect("asks");
        client
    }

    async fn answer(client: &mut TcpStream) -> String {
        let mut bytes = vec![0; 1_024];
        let count = client.read(&mut bytes).await.expect("an answer");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test]
    async fn one_more_than_may_be_open_waits_until_another_is_closed() {
        with_server(1, async |address| {
            let (mut first, mut second) = (ask(address).await, ask(address).await);
            for _ in 0..200 {
                assert!(answer(&mut first).await.ends_with("here"));
                first.write_all(ASK).await.expect("asks again");
            }
            let early = second.try_read(&mut [0; 1]).expect_err("nothing yet");
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
            drop(first);
            assert!(answer(&mut second).await.ends_with("here"));
        })
        .await;
    }

    #[tokio::test]
    async fn an_idle_client_is_hung_up_on() {
        with_server(1, async |address| {
            let mut client = ask(address).await;
            assert!(answer(&mut client).await.ends_with("here"));
            let begun = Instant::now();
            assert_eq!(answer(&mut client).await, "");
            assert!(begun.elapsed() >= SILENCE / 2, "{:?}", begun.elapsed());
        })
        .await;
    }

    #[test]
    fn as_many_files_may_be_open_as_connections() {
        allow_files();
        let limit = getrlimit(Resource::Nofile);
        let enough =
            |files: u64| files >= u64::try_from(OPEN).expect("a number") || Some(files) == limit.maximum;
        assert!(limit.current.is_none_or(enough), "{limit:?}");
    }
}

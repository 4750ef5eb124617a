//! TCP ports on this machine: finding free ones, and saying who holds a taken one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};
use procfs::net::TcpState;
use procfs::process::{FDTarget, all_processes};

/// Below the range that Linux hands out for outgoing connections (from 32768), so that no
/// connection takes a port between here and the start of the server that it was picked for.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// `N` different ports that nobody listens on. Two calls, also in two processes, rarely meet.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes started one after the other begin far apart.
    let offset = u16::try_from(process::id() * 61 % u32::from(COUNT))?;
    let mut found = [0; N];
    for slot in &mut found {
        let candidates = (0..COUNT).map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            FIRST + (offset + step) % COUNT
        });
        let mut free = candidates.filter(|port| TcpListener::bind(local(*port)).is_ok());
        match free.next() {
            Some(port) => *slot = port,
            None => bail!("no free port between {FIRST} and {}", FIRST + COUNT),
        }
    }
    Ok(found)
}

/// Fails when somebody listens on `port`, which is needed for `purpose`, naming who.
pub(crate) fn require_free(port: u16, purpose: &str) -> Result<()> {
    if TcpListener::bind(local(port)).is_ok() {
        return Ok(());
    }
    let holder =
        holder(port).unwrap_or_else(|| format!("to see who holds it, run: ss -ltnp 'sport = :{port}'"));
    bail!("port {port} ({purpose}) is taken: {holder}")
}

/// Who listens on `port` of this machine, when this user may read that from /proc.
pub fn holder(port: u16) -> Option<String> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten();
    let mut sockets = tables.flatten().filter(|socket| socket.state == TcpState::Listen);
    let inode = sockets.find(|socket| socket.local_address.port() == port)?.inode;
    all_processes().ok()?.flatten().find_map(|process| {
        process.fd().ok()?.flatten().find(|fd| fd.target == FDTarget::Socket(inode))?;
        let command = process.cmdline().ok()?.join(" ");
        Some(format!("process {} holds it ({command})", process.pid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let mut ports = free::<50>().unwrap();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind(local(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let message = require_free(port, "order service").unwrap_err().to_string();
        assert!(message.starts_with(&format!("port {port} (order service) is taken: ")), "{message}");
        assert!(message.contains(&format!("process {} holds it", process::id())), "{message}");
    }
}

//! Who listens on our ports, as the kernel tells.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

/// The sockets of another process that listened where we listen before we did, by the kernel's
/// numbers for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Predecessor(BTreeSet<u64>);

impl Predecessor {
    /// Whoever listens on the ports of these addresses.
    pub(super) fn at(addresses: &[SocketAddr]) -> Self {
        Self(ports(addresses).into_iter().flat_map(listening_on).collect())
    }

    /// Whether it is there, and has closed nothing yet.
    pub(super) fn stays(&self, addresses: &[SocketAddr]) -> bool {
        !self.0.is_empty() && self.0.is_subset(&Self::at(addresses).0)
    }
}

/// Each port once.
fn ports(addresses: &[SocketAddr]) -> BTreeSet<u16> {
    addresses.iter().map(SocketAddr::port).collect()
}

/// How many sockets listen on a port, for each of the addresses that have it.
pub(super) fn listening_an_address(addresses: &[SocketAddr], port: u16) -> usize {
    let sharers = addresses.iter().filter(|address| address.port() == port).count();
    listening_on(port).len() / sharers.max(1)
}

/// How many sockets listen on the ports of these addresses.
pub(super) fn listening(addresses: &[SocketAddr]) -> usize {
    ports(addresses).into_iter().map(|port| listening_on(port).len()).sum()
}

/// The sockets that listen on a port of this machine.
///
/// Cost: the kernel lists those that listen before all others, which are not read.
fn listening_on(port: u16) -> Vec<u64> {
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::File::open(path).ok())
        .flat_map(|table| {
            let lines = BufReader::new(table).lines().map_while(Result::ok).skip(1);
            let listeners = lines.map_while(|line| listens(&line, &wanted));
            listeners.flatten().collect::<Vec<_>>()
        })
        .collect()
}

/// The socket of a line of the table, if it is of the port; `None` if it is of one that does not
/// listen.
fn listens(line: &str, wanted: &str) -> Option<Option<u64>> {
    const LISTEN: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let local = words.next()?;
    if words.nth(1)? != LISTEN {
        return None;
    }
    let socket = words.nth(5).and_then(|number| number.parse().ok());
    Some(socket.filter(|_| local.ends_with(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn listeners_of_a_port_are_counted_and_what_follows_them_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let _client = TcpStream::connect(address).expect("it listens");
        assert_eq!((listening(&[address]), listening(&[address, address])), (1, 1));
        let before = Predecessor::at(&[address]);
        assert!(before.stays(&[address]));
        drop(listener);
        assert_eq!(listening(&[address]), 0);
        assert!(!before.stays(&[address]), "it has gone");
        assert!(!Predecessor::default().stays(&[address]), "there was none");
        let line = |state: &str| {
            format!(
                "  0: 0100007F:0BB9 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 \
                 1000        0 4711 1 0000000000000000 100 0 0 10 0"
            )
        };
        assert_eq!(listens(&line("0A"), ":0BB9"), Some(Some(4_711)));
        assert_eq!(listens(&line("0A"), ":0BBA"), Some(None));
        assert_eq!(listens(&line("01"), ":0BB9"), None);
    }
}

//! Listeners: some of each address, and none where somebody else listens already.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;
use crate::config::Options;

/// Connections that may wait to be accepted, a listener.
pub const BACKLOG: i32 = 4_096;

/// How long the listeners of a process that was killed may be seen.
const AFTERLIFE: Duration = Duration::from_millis(500);

/// How an address is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody else may have the port.
    Alone,
    /// Another process may: it is being replaced.
    Takeover,
}

impl Sharing {
    pub(super) const fn of(options: &Options) -> Self {
        if options.takeover { Self::Takeover } else { Self::Alone }
    }
}

/// `count` listeners of one address. Port 0 becomes the same free port for all.
pub(super) fn listeners(
    option: &'static str,
    address: SocketAddr,
    count: usize,
    sharing: Sharing,
) -> Result<Vec<TcpListener>, StartError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressTaken { option, address },
        _ => StartError::Address { option, address, error },
    };
    let address = reachable(address);
    if sharing == Sharing::Alone && address.port() != 0 {
        alone(address).map_err(failed)?;
    }
    let first = open(address, true).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    let mut all = vec![first];
    for _ in 1..count {
        all.push(open(address, true).map_err(failed)?);
    }
    Ok(all)
}

/// The listener of the admin core. It can be shared like the others: a process that takes over
/// answers there beside the old one until that has drained.
pub(super) fn admin(address: SocketAddr, sharing: Sharing) -> Result<TcpListener, StartError> {
    let address = reachable(address);
    let is_alone = sharing == Sharing::Alone && address.port() != 0;
    let free = if is_alone { alone(address) } else { Ok(()) };
    free.and_then(|()| open(address, true)).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressTaken { option: "admin_listen", address },
        _ => StartError::Address { option: "admin_listen", address, error },
    })
}

/// That nobody listens there. A process that was killed a moment ago may seem to: the kernel takes
/// its rings down behind its back, and they hold its listeners. So a taken port is looked at again.
fn alone(address: SocketAddr) -> io::Result<()> {
    let began = Instant::now();
    loop {
        // Without SO_REUSEPORT this fails if anybody listens there, with it or without. It is
        // closed again at once: the real ones follow.
        match open(address, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if began.elapsed() >= AFTERLIFE {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.map(drop),
        }
    }
}

/// `[::]` where there is IPv6, else `0.0.0.0`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    if any_v6 && Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_err() {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    }
    address
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn a_taken_port_is_an_error_although_both_would_share_it() {
        let first = listeners("listen", loopback(0), 2, Sharing::Alone).expect("a port is free");
        let address = first[0].local_addr().expect("it is bound");
        assert_eq!(first[1].local_addr().expect("it is bound"), address);
        let second = listeners("listen", address, 1, Sharing::Alone);
        let line = second.expect_err("the port is taken").to_string();
        assert!(line.contains("is taken") && line.contains("--takeover"), "{line}");
        assert!(listeners("listen", address, 1, Sharing::Takeover).is_ok());
    }
}

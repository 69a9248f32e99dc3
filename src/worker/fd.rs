//! What is asked of a socket directly, and the one place with unsafe in the workers.
#![expect(unsafe_code, reason = "socket filters have no crate")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{RecvFlags, SendFlags, Shutdown};

/// Receives what is there; `None` if nothing is.
pub(super) fn receive(stream: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let received = rustix::net::recv(stream, buffer, RecvFlags::DONTWAIT);
    match received {
        Ok((count, _)) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends what fits; 0 if nothing does.
pub(super) fn send(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Whether it has something now: input, an end, a connection to accept.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once)).is_ok_and(|count| count > 0)
}

/// Shuts the sending side, or both: then the end of its input is announced.
pub(super) fn shut(stream: impl AsFd, both: bool) {
    let how = if both { Shutdown::Both } else { Shutdown::Write };
    // A connection that is gone already is as shut as can be.
    let _gone = rustix::net::shutdown(stream, how);
}

/// Steers new connections of a port that several listeners share to `count` of them from `first`
/// on, in the kernel's list: those of another process. While there is none at such a place, the
/// kernel falls back to its own choice among all.
///
/// With it a process can empty its accept queues and close its listeners without a connection
/// being reset.
///
/// # Errors
/// The kernel refuses filters on this socket.
pub fn attach_filter(listener: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<()> {
    // Classic BPF: A = hash of the packet; A %= count; A += first; return A.
    const RXHASH: u32 = 0xffff_f000 + 32;
    let program = [
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: RXHASH },
        libc::sock_filter { code: 0x94, jt: 0, jf: 0, k: count },
        libc::sock_filter { code: 0x04, jt: 0, jf: 0, k: first },
        libc::sock_filter { code: 0x16, jt: 0, jf: 0, k: 0 },
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    // The program that it points to outlives the call too, and the kernel copies both.
    set(listener, libc::SO_ATTACH_REUSEPORT_CBPF, &filter)
}

/// Takes off whatever filter the listeners of a port have, so that the kernel chooses among all.
pub fn detach_filter(listener: BorrowedFd<'_>) {
    // Most often there is none, which is an error.
    let _none = set(listener, libc::SO_DETACH_REUSEPORT_BPF, &0_i32);
}

fn set<T>(socket: BorrowedFd<'_>, option: i32, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let value = (&raw const *value).cast();
    // SAFETY: the pointer and the size describe `value`, which outlives the call; the kernel reads
    // it and keeps no pointer to it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn listener(address: SocketAddr) -> TcpListener {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are descriptors");
        socket.set_reuse_port(true).expect("ports can be shared");
        socket.bind(&address.into()).expect("the port is ours");
        socket.listen(16).expect("it can listen");
        socket.set_nonblocking(true).expect("it need not block");
        socket.into()
    }

    #[test]
    fn a_filter_steers_every_new_connection_to_the_listener_it_names() {
        let first = listener(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = first.local_addr().expect("it is bound");
        let all = [first, listener(address), listener(address)];
        for place in 0..3 {
            if attach_filter(all[0].as_fd(), place, 1).is_err() {
                // Where filters are refused the kernel shares connections out by itself.
                return;
            }
            let clients: Vec<_> = (0..8).map(|_| TcpStream::connect(address)).collect();
            assert!(clients.iter().all(Result::is_ok));
            for (at, listener) in (0..).zip(&all) {
                let taken = std::iter::from_fn(|| listener.accept().ok()).count();
                assert_eq!(taken, if at == place { 8 } else { 0 }, "{place} {at}");
            }
        }
        detach_filter(all[1].as_fd());
        let clients: Vec<_> = (0..12).map(|_| TcpStream::connect(address)).collect();
        assert!(clients.iter().all(Result::is_ok));
        let taken = std::iter::from_fn(|| all[2].accept().ok()).count();
        assert!(taken < 12, "the kernel chooses among all again");
    }
}

//! What the kernel itself asks for a frame: bare sends to many sockets, and nothing else.
//!
//! A thread on the server's core writes the bytes of one frame to each of many established
//! loopback sockets with `send(2)` (no waiting, no Nagle); a thread on the client's core reads
//! them as the load client does, without sleeping. On loopback the sender also pays for the
//! receiver's side of TCP, as every server measured here does. No server that sends each frame by
//! itself can be cheaper than this; one that joins several frames into a send can.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::cores;

/// Parts of a measurement: the median of them stands for it.
const STRETCHES: usize = 9;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sockets that are written to in turn.
    pub sockets: usize,
    /// Bytes of a frame on the wire.
    pub frame_bytes: usize,
    /// How many frames leave in one send; each is measured.
    pub joined: Vec<usize>,
    /// How long each of them is measured, in seconds.
    pub seconds: f64,
    /// CPU of the sender.
    pub server_core: usize,
    /// CPU of the reader.
    pub client_core: usize,
}

/// The cost of a frame at one number of frames a send.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Frames a send.
    pub joined: usize,
    /// CPU time of the sender for one frame, in microseconds: the median of the stretches.
    pub cpu_us_per_frame: f64,
    /// The least of the stretches.
    pub best_cpu_us_per_frame: f64,
    /// (greatest - least) / median of the stretches.
    pub spread: f64,
    /// Frames sent.
    pub frames: u64,
}

/// What sender and reader share.
#[derive(Default)]
struct Shared {
    bytes_read: AtomicU64,
    is_over: AtomicBool,
}

/// Measures.
///
/// # Errors
/// The sockets cannot be made (most often the limit of open files), a core cannot be had, or the
/// kernel took less than was sent.
pub fn measure(settings: &Settings) -> io::Result<Vec<Cost>> {
    let (senders, readers) = pairs(settings.sockets)?;
    let shared = Shared::default();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            cores::pin(settings.client_core)?;
            read_all(&readers, &shared)
        });
        let sender = scope.spawn(|| {
            let costs = cores::pin(settings.server_core)
                .and_then(|()| send_all(settings, &senders, &shared));
            shared.is_over.store(true, Ordering::Release);
            costs
        });
        let costs = sender.join().map_err(|_| io::Error::other("the sender died"))?;
        reader.join().map_err(|_| io::Error::other("the reader died"))??;
        costs
    })
}

/// Connected sockets: those that send, and their other ends.
fn pairs(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        readers.push(TcpStream::connect(address)?);
        let (sender, _) = listener.accept()?;
        sender.set_nodelay(true)?;
        senders.push(sender);
    }
    Ok((senders, readers))
}

/// Reads without sleeping until the sender is done.
fn read_all(readers: &[TcpStream], shared: &Shared) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (place, reader) in readers.iter().enumerate() {
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, reader, EventData::new_u64(place as u64), flags)?;
    }
    let mut events = Vec::with_capacity(512);
    let mut scratch = vec![0; 64 << 10];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    while !shared.is_over.load(Ordering::Acquire) {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(reader) = readers.get(place) else { continue };
            loop {
                match rustix::net::recv(reader, &mut scratch[..], RecvFlags::DONTWAIT) {
                    Ok((count, _)) => {
                        shared.bytes_read.fetch_add(count as u64, Ordering::Release);
                        // Less than there was room for: the socket is empty.
                        if count < scratch.len() {
                            break;
                        }
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

/// Rounds of sends, the numbers of joined frames taking turns so that what drifts meets all alike.
fn send_all(settings: &Settings, senders: &[TcpStream], shared: &Shared) -> io::Result<Vec<Cost>> {
    let frame = frame(settings.frame_bytes);
    let joined: Vec<Vec<u8>> = settings.joined.iter().map(|count| frame.repeat(*count)).collect();
    let mut stretches = vec![Vec::new(); joined.len()];
    let mut frames = vec![0; joined.len()];
    let mut sent_bytes = 0;
    let stretch_ns = stretch_ns(settings.seconds);
    for _ in 0..STRETCHES {
        for (which, bytes) in joined.iter().enumerate() {
            let (mut cpu_ns, mut rounds) = (0, 0_u64);
            let began = now_ns(ClockId::Monotonic);
            while rounds == 0 || now_ns(ClockId::Monotonic) - began < stretch_ns {
                cpu_ns += send_round(senders, bytes)?;
                rounds += 1;
                sent_bytes += (bytes.len() * senders.len()) as u64;
                // As with one message outstanding: the next leaves when all have the last.
                while shared.bytes_read.load(Ordering::Acquire) < sent_bytes {
                    std::hint::spin_loop();
                }
            }
            let count = rounds * (senders.len() * settings.joined[which]) as u64;
            frames[which] += count;
            stretches[which].push(micros_each(cpu_ns, count));
        }
    }
    let all = settings.joined.iter().zip(stretches).zip(frames);
    Ok(all.map(|((joined, stretches), frames)| cost(*joined, stretches, frames)).collect())
}

/// CPU time of one send to each socket, in nanoseconds.
fn send_round(senders: &[TcpStream], bytes: &[u8]) -> io::Result<u64> {
    let before = now_ns(ClockId::ThreadCPUTime);
    for sender in senders {
        let count = rustix::net::send(sender, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        if count != bytes.len() {
            return Err(io::Error::other("the kernel took less than was sent"));
        }
    }
    Ok(now_ns(ClockId::ThreadCPUTime) - before)
}

/// A text frame as a server of the bench contract sends it, of `bytes` bytes in all (at most 127).
fn frame(bytes: usize) -> Vec<u8> {
    let payload = bytes.saturating_sub(2).min(125);
    let mut frame = vec![0x81, u8::try_from(payload).unwrap_or(125)];
    frame.extend_from_slice(b"42[\"msg\",{\"room\":\"r\",\"d\":\"");
    frame.resize(bytes.saturating_sub(3), b'x');
    frame.extend_from_slice(b"\"}]");
    frame
}

fn cost(joined: usize, mut stretches: Vec<f64>, frames: u64) -> Cost {
    stretches.sort_by(f64::total_cmp);
    let (least, greatest) = (stretches[0], stretches[stretches.len() - 1]);
    let median = stretches[stretches.len() / 2];
    Cost {
        joined,
        cpu_us_per_frame: median,
        best_cpu_us_per_frame: least,
        spread: (greatest - least) / median,
        frames,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn micros_each(nanos: u64, count: u64) -> f64 {
    nanos as f64 / 1e3 / count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
fn stretch_ns(seconds: f64) -> u64 {
    (seconds * 1e9 / STRETCHES as f64) as u64
}

fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// As a table, a line for each number of joined frames.
#[must_use]
pub fn table(settings: &Settings, costs: &[Cost]) -> String {
    let mut text = format!(
        "bare send(2), {} sockets, frames of {} bytes, CPU-us per frame:\n\n\
         | frames a send | median | best | spread |\n| --- | --- | --- | --- |\n",
        settings.sockets, settings.frame_bytes
    );
    for cost in costs {
        text.push_str(&format!(
            "| {} | {:.2} | {:.2} | {:.0} % |\n",
            cost.joined,
            cost.cpu_us_per_frame,
            cost.best_cpu_us_per_frame,
            100.0 * cost.spread
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_was_asked() {
        for bytes in [76, 80, 127] {
            let frame = frame(bytes);
            assert_eq!(frame.len(), bytes);
            assert_eq!(usize::from(frame[1]), bytes - 2);
            assert!(frame.ends_with(b"x\"}]"));
        }
    }

    #[test]
    fn every_frame_is_read_and_costs_something() {
        let settings = Settings {
            sockets: 8,
            frame_bytes: 76,
            joined: vec![1, 4],
            seconds: 0.0,
            server_core: 0,
            client_core: 0,
        };
        let costs = measure(&settings).unwrap();
        assert_eq!(costs.iter().map(|cost| cost.joined).collect::<Vec<_>>(), [1, 4]);
        for cost in costs {
            assert_eq!(cost.frames, (STRETCHES * 8 * cost.joined) as u64);
            assert!(cost.best_cpu_us_per_frame > 0.0);
        }
    }
}

//! What we believe of monoio and the kernel, one case each. If one of these fails after an update,
//! the rules of `src/worker` that rest on it must be thought over again.
#![expect(clippy::disallowed_methods, reason = "a fact about time is shown with a clock")]
#![expect(unsafe_code, reason = "descriptors change hands as raw numbers")]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use corewire::base::{Counted, Rng, SharedCounts};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::net::{RecvFlags, Shutdown};

/// How long anything may take before the fact is refuted.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a case ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Ring,
    Epoll,
}

/// The flags of the best rung, as `src/worker/driver.rs` has them.
fn best_ring() -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_cqsize(1_024).setup_coop_taskrun().setup_single_issuer();
    builder
}

/// Runs a case on the best ring, where the kernel has it, and on epoll. Each on a thread of its
/// own: a runtime stays with its thread.
fn on_both<F: Future<Output = ()>>(case: fn(On) -> F) {
    let on_ring = move || {
        let runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(256)
            .uring_builder(best_ring())
            .enable_timer()
            .build();
        // Where there is no ring only epoll is asked.
        if let Ok(mut runtime) = runtime {
            runtime.block_on(in_time(case(On::Ring)));
        }
    };
    let on_epoll = move || {
        let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
        runtime.expect("epoll is everywhere").block_on(in_time(case(On::Epoll)));
    };
    std::thread::scope(|scope| {
        let ring = scope.spawn(on_ring).join();
        let epoll = scope.spawn(on_epoll).join();
        assert!(ring.is_ok() && epoll.is_ok(), "ring {}, epoll {}", ring.is_ok(), epoll.is_ok());
    });
}

async fn in_time(case: impl Future<Output = ()>) {
    monoio::time::timeout(PATIENCE, case).await.expect("it ends");
}

/// A client and the server's side of its connection.
fn pair() -> (TcpStream, monoio::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("a client waits");
    server.set_nonblocking(true).expect("a socket can be");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket can have one");
    (client, monoio::net::TcpStream::from_std(server).expect("it is a stream"))
}

fn fd_of(stream: &monoio::net::TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and is borrowed for as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Receives what is there without waiting.
fn receive(stream: &monoio::net::TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64];
    let (count, _) = rustix::net::recv(fd_of(stream), &mut bytes[..], RecvFlags::DONTWAIT).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

/// Polls a future once and drops it.
async fn begin_and_drop<T>(future: impl Future<Output = T>) {
    let mut future = Box::pin(future);
    poll_fn(|context| {
        let _maybe = future.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// Lets every other runnable task run once, as the workers do.
async fn yield_now() {
    monoio::spawn(async {}).await;
}

#[test]
fn a_readable_that_is_dropped_loses_nothing() {
    on_both(|_| async {
        let (mut client, server) = pair();
        let mut received = Vec::new();
        for number in 0..100_u8 {
            begin_and_drop(server.readable(false)).await;
            if number % 2 == 0 {
                yield_now().await;
            }
            client.write_all(&[number]).expect("the kernel takes a byte");
            begin_and_drop(server.readable(false)).await;
            server.readable(false).await.expect("it is open");
            received.extend(receive(&server).expect("it was said to be readable"));
        }
        assert_eq!(received, (0..100).collect::<Vec<u8>>());
    });
}

#[test]
fn a_listener_that_is_dropped_while_it_was_waited_on_stops_listening() {
    on_both(|_| async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be");
        let address = listener.local_addr().expect("bound");
        let listener = monoio::net::TcpListener::from_std(listener).expect("a listener");
        begin_and_drop(listener.readable(false)).await;
        yield_now().await;
        drop(listener);
        // A poll that was not cancelled would hold the socket, and the kernel would go on taking
        // in connections that nobody serves.
        let began = Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(2), "monoio lacks async-cancel");
            monoio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn spawning_nothing_and_waiting_for_it_lets_others_run() {
    on_both(|_| async {
        let turns = Rc::new(Cell::new(0));
        let (other, stop) = (Rc::clone(&turns), Rc::new(Cell::new(false)));
        let stopped = Rc::clone(&stop);
        let task = monoio::spawn(async move {
            while !stopped.get() {
                other.set(other.get() + 1);
                yield_now().await;
            }
        });
        let (mut client, server) = pair();
        for _ in 0..1_000 {
            yield_now().await;
        }
        assert!(turns.get() >= 500, "{} turns of 1,000", turns.get());
        // Input gets its turn too, although something is always runnable.
        client.write_all(b"x").expect("the kernel takes a byte");
        server.readable(false).await.expect("it is open");
        stop.set(true);
        task.await;
    });
}

#[test]
fn timers_wait_until_nothing_is_runnable() {
    on_both(|_| async {
        let fired = Rc::new(Cell::new(false));
        let mark = Rc::clone(&fired);
        let timer = monoio::spawn(async move {
            monoio::time::sleep(Duration::from_millis(1)).await;
            mark.set(true);
        });
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(30) {
            yield_now().await;
        }
        // When this fails the trap is gone: loops that yield may run for as long as they like.
        assert!(!fired.get(), "timers run between yields by now");
        timer.await;
        assert!(fired.get());
    });
}

#[test]
fn a_task_that_wakes_itself_starves_the_others() {
    on_both(|_| async {
        let turns = Rc::new(Cell::new(0));
        let other = Rc::clone(&turns);
        let task = monoio::spawn(async move { other.set(1) });
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            if polls == 10_000 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        // When this fails the trap is gone: `yield_now` of `src/worker` may become simpler.
        assert_eq!(turns.get(), 0, "others get their turn by now");
        task.await;
        assert_eq!(turns.get(), 1);
    });
}

#[test]
fn a_shutdown_from_elsewhere_completes_a_readable_that_waits() {
    on_both(|_| async {
        let (mut client, server) = pair();
        let server = Rc::new(server);
        let held = Rc::clone(&server);
        let waiting = monoio::spawn(async move { held.readable(false).await });
        yield_now().await;
        monoio::time::sleep(Duration::from_millis(5)).await;
        rustix::net::shutdown(fd_of(&server), Shutdown::Both).expect("it is connected");
        // Whether that is an error does not matter: the next receive says that it is over.
        let _either = waiting.await;
        assert_eq!(receive(&server), Some(Vec::new()));
        assert_eq!(client.read(&mut [0; 8]).expect("an end"), 0);
    });
}

#[test]
fn an_eventfd_in_the_clothes_of_a_stream_can_be_waited_for() {
    on_both(|_| async {
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let bell = rustix::event::eventfd(0, flags).expect("a descriptor is free");
        let ringer = bell.try_clone().expect("a descriptor is free");
        let bell = monoio::net::TcpStream::from_std(TcpStream::from(bell)).expect("a descriptor");
        let ring = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            rustix::io::write(&ringer, &1_u64.to_ne_bytes()).expect("it takes a number");
            ringer
        });
        bell.readable(false).await.expect("it is open");
        let ringer = ring.join().expect("it rang");
        let mut count = [0; 8];
        rustix::io::read(fd_of(&bell), &mut count).expect("it was rung");
        assert_eq!(u64::from_ne_bytes(count), 1);
        // Rung before the wait: not lost either.
        rustix::io::write(&ringer, &3_u64.to_ne_bytes()).expect("it takes a number");
        bell.readable(false).await.expect("it is open");
    });
}

#[test]
fn a_descriptor_can_be_taken_once_the_wait_for_it_has_ended() {
    on_both(|_| async {
        let (mut client, mut server) = pair();
        for number in 0..20_u8 {
            client.write_all(&[number]).expect("the kernel takes a byte");
            server.readable(false).await.expect("it is open");
            // SAFETY: `into_raw_fd` gives up ownership, and nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(server.into_raw_fd()) };
            server = monoio::net::TcpStream::from_std(fd.into()).expect("still a stream");
            assert_eq!(receive(&server), Some(vec![number]));
        }
    });
}

#[test]
fn a_descriptor_cannot_be_taken_from_under_a_wait() {
    on_both(|on| async move {
        let (_client, server) = pair();
        begin_and_drop(server.readable(false)).await;
        let taken = catch_unwind(AssertUnwindSafe(|| server.into_raw_fd()));
        // On a ring the kernel may still use it, so monoio refuses with a panic.
        assert_eq!(taken.is_err(), on == On::Ring);
        if let Ok(fd) = taken {
            // SAFETY: as above.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    });
}

#[test]
fn the_best_ring_can_be_built_here_or_the_ladder_ends_at_epoll() {
    use corewire::config::{Driver, Options};
    let best = std::thread::spawn(|| {
        let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(256);
        builder.uring_builder(best_ring()).build().map(drop)
    });
    let best = best.join().expect("it does not panic");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let options = Options {
        listen: vec![any],
        admin_listen: any,
        workers: 1,
        pin: false,
        driver: Driver::Auto,
        ..Options::default()
    };
    let app = |_: &corewire::api::Io| corewire::api::App::new();
    let running = corewire::server::Server::new(options, app).start().expect("some rung holds");
    let note = running.notes[0].clone();
    running.stop();
    match best {
        Ok(()) => assert!(note.contains("on io_uring (coop, single issuer)"), "{note}"),
        Err(error) => assert!(note.contains(&error.to_string()), "{note} does not say {error}"),
    }
}

#[test]
fn a_panic_in_a_task_unwinds_the_whole_runtime() {
    let outcome = std::thread::spawn(|| {
        let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
        let runtime = runtime.as_mut().expect("epoll is everywhere");
        catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                drop(monoio::spawn(async { panic!("on purpose") }));
                monoio::time::sleep(PATIENCE).await;
            });
        }))
    });
    let outcome = outcome.join().expect("it was caught");
    assert!(outcome.is_err(), "the runtime lives on: handlers might be guarded less");
}

/// Counts that cores share hold while cores write them at the same time.
#[test]
fn cores_agree_on_a_shared_count() {
    let shared = SharedCounts::new(100, 8, 1);
    let added: Vec<_> = std::thread::scope(|scope| {
        let add = || (0..50).filter_map(|_| shared.add(b"one").ok()).collect::<Vec<_>>();
        let cores: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        cores.into_iter().flat_map(|core| core.join().expect("it ends")).collect()
    });
    assert_eq!((added.len(), shared.sum()), (100, 100));
    added.into_iter().flatten().for_each(|counted| shared.remove(counted));
    assert_eq!(shared.sum(), 0);
    assert!(shared.add(b"one").is_ok());
}

/// Cores on which clients come and go under few names, in a table so small that names lose their
/// slots to others all the time: limits hold, and nothing is left in the end.
#[test]
fn counts_of_many_cores_keep_their_limit_and_end_at_nothing() {
    for round in 0..40 {
        let shared = SharedCounts::new(3, 8, round);
        // What is held at the least: told after it was counted, taken back before it is not.
        let held: Vec<AtomicU64> = (0..24).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for core in 0..8 {
                let (shared, held) = (&shared, &held);
                scope.spawn(move || come_and_go(shared, held, &mut Rng::new(core, round)));
            }
        });
        assert_eq!(shared.sum(), 0, "round {round}");
    }
}

fn come_and_go(shared: &SharedCounts, held: &[AtomicU64], rng: &mut Rng) {
    let mut own = Vec::new();
    let leave = |(name, counted): (usize, Counted)| {
        held[name].fetch_sub(1, Ordering::SeqCst);
        shared.remove(counted);
    };
    for _ in 0..5_000 {
        let name = rng.below(held.len());
        if rng.below(2) > 0 {
            if !own.is_empty() {
                leave(own.swap_remove(rng.below(own.len())));
            }
        } else if let Ok(Some(counted)) = shared.add(&name.to_le_bytes()) {
            assert!(held[name].fetch_add(1, Ordering::SeqCst) < 3, "name {name}");
            own.push((name, counted));
        }
    }
    own.into_iter().for_each(leave);
}

//! The server of the bench contract: `join`, `leave`, `echo`, `pub`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

mod shared;

use corewire::api::{App, Io};
use corewire::config::Options;
use corewire::server::Server;
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `pub` looks at; the whole object goes on as it came.
#[derive(Deserialize)]
struct Publish {
    room: String,
}

fn main() {
    let loaded = shared::options("bench_server", Options::default());
    shared::serve(Server::new(loaded.options, app).tables(loaded.tables));
}

fn app(_io: &Io) -> App {
    App::new().namespace("/", |root| {
        root.on_args("join", |socket, (room,): (String,), ack| {
            socket.join(&room);
            ack.send(&());
        });
        root.on_args("leave", |socket, (room,): (String,), ack| {
            socket.leave(&room);
            ack.send(&());
        });
        root.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
        root.on("pub", |event| {
            let Ok((publish,)) = event.args::<(Publish,)>() else { return };
            let io = event.socket().io();
            io.to(&publish.room).emit_raw("msg", event.raw_args(), event.attachments());
            event.ack().send(&());
        });
    })
}

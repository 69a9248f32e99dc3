//! A chat: names, rooms, messages, who is typing. Try it with any Socket.IO client:
//! `emit("enter", name, room)`, `emit("say", text)`, `emit("typing")`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

mod shared;

use std::cell::RefCell;
use std::rc::Rc;

use corewire::api::{App, Io, NamespaceBuilder, Refusal, Socket};
use corewire::config::Options;
use corewire::server::Server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Who a socket is. Handlers run on one core, so no lock is needed.
struct Person {
    name: String,
    room: RefCell<String>,
}

fn main() {
    let loaded = shared::options("chat", Options::default());
    shared::serve(Server::new(loaded.options, |_io: &Io| App::new().namespace("/", chat)));
}

fn person(socket: &Socket) -> Option<Rc<Person>> {
    socket.data::<Person>()
}

fn chat(chat: &mut NamespaceBuilder) {
    chat.filter(|event| {
        let known = event.name() == "enter" || person(event.socket()).is_some();
        if known { Ok(()) } else { Err(Refusal::new("enter a room first")) }
    });
    chat.on_refused(|socket, refusal| {
        socket.emit("error", &(&refusal.message,));
    });
    chat.on_args("enter", |socket, (name, room): (String, String), ack| {
        if let Some(before) = person(socket) {
            socket.leave(&before.room.borrow());
        }
        if !socket.join(&room) {
            ack.send(&("refused",));
            return;
        }
        socket.to(&room).emit("entered", &(&name,));
        socket.set_data(Rc::new(Person { name, room: RefCell::new(room) }));
        ack.send(&("ok",));
    });
    chat.on_args("say", |socket, (text,): (String,), ack| {
        if let Some(person) = person(socket) {
            socket.io().to(&person.room.borrow()).emit("said", &(&person.name, text));
            ack.send(&("ok",));
        }
    });
    chat.on("typing", |event| {
        if let Some(person) = person(event.socket()) {
            let others = event.socket().to(&person.room.borrow());
            others.volatile().emit("typing", &(&person.name,));
        }
    });
    chat.on_disconnect(|gone| {
        if let Some(person) = gone.data::<Person>() {
            gone.io().to(&person.room.borrow()).emit("left", &(&person.name, gone.reason()));
        }
    });
}

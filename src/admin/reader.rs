//! A connection of the admin listener whose answers have a time to be read in.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::state::Admin;

/// The peer of a connection, who reads what it is answered or is left.
///
/// hyper waits for as long as it takes until an answer is written, and as many who do not read
/// theirs as there are places would take them all.
pub(super) struct Reader {
    stream: TokioIo<TcpStream>,
    admin: Arc<Admin>,
    /// Runs from the moment in which the kernel took no more of an answer until all of it is
    /// taken: whoever reads a byte now and then has no more time than who reads nothing.
    waited: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    pub(super) const fn new(stream: TokioIo<TcpStream>, admin: Arc<Admin>) -> Self {
        Self { stream, admin, waited: None }
    }

    /// What was written, or that the time is over.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<Result<usize>>,
    ) -> Poll<Result<usize>> {
        if written.is_ready() {
            return written;
        }
        let within = self.admin.settings.answer_timeout;
        let waited = self.waited.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        if waited.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.waited = None;
        self.admin.book().own.admin_unread += 1;
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl Read for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Reader {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper comes here once it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.waited = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

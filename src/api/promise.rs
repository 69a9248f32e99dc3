//! A value that arrives later, on one core.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// The other end is gone without a value.
    broken: bool,
}

/// Awaits a value of the same core. `None` if nobody will send one any more.
#[must_use = "a promise does nothing unless awaited"]
pub struct Promise<T>(Rc<RefCell<Slot<T>>>);

/// Keeps a [`Promise`].
pub struct Resolver<T>(Rc<RefCell<Slot<T>>>);

/// Both ends.
pub fn promise<T>() -> (Resolver<T>, Promise<T>) {
    let slot = Rc::new(RefCell::new(Slot { value: None, waker: None, broken: false }));
    (Resolver(Rc::clone(&slot)), Promise(slot))
}

impl<T> Resolver<T> {
    /// Sends the value.
    pub fn resolve(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for Resolver<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = self.0.borrow_mut();
            slot.broken = slot.value.is_none();
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Promise<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.borrow_mut();
        if let Some(value) = slot.value.take() {
            return Poll::Ready(Some(value));
        }
        if slot.broken {
            return Poll::Ready(None);
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

//! Deliveries whose work goes on beside that of others, so many and no more.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Work under way. Each ends with a word about its delivery.
pub(super) struct Abreast<T> {
    jobs: FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>,
    max: usize,
}

impl<T> Abreast<T> {
    /// Room for `max` at a time.
    pub(super) fn new(max: u16) -> Self {
        Self { jobs: FuturesUnordered::new(), max: usize::from(max) }
    }

    /// Whether there is room for one more; whoever takes deliveries asks before.
    pub(super) fn has_room(&self) -> bool {
        self.jobs.len() < self.max
    }

    /// Begins one more. Whether it was the last there was room for: what comes after it waits.
    pub(super) fn begin(&mut self, job: impl Future<Output = T> + Send + 'static) -> bool {
        self.jobs.push(Box::pin(job));
        !self.has_room()
    }

    /// The next that ends; waits for ever while there is none.
    pub(super) async fn next(&mut self) -> T {
        match self.jobs.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn there_is_room_again_when_one_has_ended_in_whatever_order() {
        let mut jobs = Abreast::new(2);
        assert!(jobs.next().now_or_never().is_none(), "there is none");
        let (first, slow) = oneshot::channel::<()>();
        let (second, fast) = oneshot::channel::<()>();
        assert!(!jobs.begin(async { slow.await.map(|()| 1) }));
        assert!(jobs.has_room());
        assert!(jobs.begin(async { fast.await.map(|()| 2) }), "that was the last");
        assert!(!jobs.has_room());
        assert!(jobs.next().now_or_never().is_none());
        assert!(second.send(()).is_ok());
        assert_eq!(jobs.next().await, Ok(2));
        assert!(jobs.has_room());
        assert!(first.send(()).is_ok());
        assert_eq!(jobs.next().await, Ok(1));
    }
}

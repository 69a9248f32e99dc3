//! The spool with what it stands for: messages in memory, or in a folder.

use std::io;
use std::sync::Arc;

use super::message::Message;
use super::segments::{Place, Segments};
use super::settings::Settings;
use super::spool::{Entry, Full, Kept, Spool};

/// Where a message is while it waits.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Memory(Arc<Message>),
    File { place: Place, republished: i64 },
}

/// A message on its way through here.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) message: Arc<Message>,
    /// Its client: what one client sends stays in order.
    pub(super) lane: u64,
    /// Its record in the folder, if it has one.
    pub(super) place: Option<Place>,
}

/// What waits for the broker.
#[derive(Debug)]
pub(super) struct Store {
    spool: Spool<Stored>,
    file: Option<Segments>,
    /// Messages that the folder did not take since somebody asked.
    unwritten: u64,
}

/// What a start found in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) messages: usize,
    pub(super) torn_bytes: u64,
}

impl Store {
    /// Opens it. What an earlier process left in the folder waits again.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(super) fn open(settings: &Settings) -> io::Result<(Self, Found)> {
        let mut spool = Spool::new(settings.bounds);
        let mut found = Found::default();
        let Some((folder, bytes_max)) = &settings.folder else {
            return Ok((Self { spool, file: None, unwritten: 0 }, found));
        };
        let replayed = Segments::open(folder, *bytes_max)?;
        found.torn_bytes = replayed.torn_bytes;
        for (place, record) in replayed.messages {
            let Some(message) = Message::from_record(&record) else { continue };
            found.messages += 1;
            spool.put_last(Entry {
                // It may have been on its way when the process ended.
                item: Stored::File { place, republished: message.republished + 1 },
                lane: 0,
                bytes: message.bytes(),
                deadline_ms: message.deadline_ms,
                at_ms: message.at_ms,
            });
        }
        Ok((Self { spool, file: Some(replayed.segments), unwritten: 0 }, found))
    }

    pub(super) fn is_on(&self) -> bool {
        self.spool.is_on()
    }

    pub(super) fn len(&self) -> usize {
        self.spool.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.spool.bytes()
    }

    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        self.spool.age_ms(now_ms)
    }

    pub(super) fn holds(&self, lane: u64) -> bool {
        self.spool.holds(lane)
    }

    /// Keeps a message; how many had to go for it, itself perhaps, or nothing if it is refused.
    pub(super) fn keep(&mut self, parcel: &Parcel) -> Option<usize> {
        let record_bytes = self.file.is_some().then(|| parcel.message.to_record().len());
        let mut gone = 0;
        // A folder is a little larger than what is wanted of it.
        while !self.fits(record_bytes) {
            match self.spool.full() {
                Full::Reject => return None,
                Full::DropNewest => return Some(1),
                Full::DropOldest => {
                    let oldest = self.spool.pop()?;
                    self.release(&oldest);
                    gone += 1;
                }
            }
        }
        let bytes = parcel.message.bytes();
        match self.spool.push(entry(parcel, Stored::Memory(Arc::clone(&parcel.message)), bytes)) {
            Kept::No(_) => None,
            Kept::Yes(dropped) => {
                let is_in = !dropped.iter().any(|entry| same(&entry.item, parcel));
                for entry in &dropped {
                    self.release(entry);
                }
                let is_kept = !is_in || self.write_newest(&parcel.message);
                is_kept.then_some(gone + dropped.len())
            }
        }
    }

    fn fits(&self, record_bytes: Option<usize>) -> bool {
        match (&self.file, record_bytes) {
            (Some(file), Some(bytes)) => file.has_room(bytes),
            _ => true,
        }
    }

    /// The newest message moves into the folder, if there is one; or out again, if the folder does
    /// not take it: memory has no bound of its own beside a folder, and what waits there would not
    /// outlive the process.
    fn write_newest(&mut self, message: &Message) -> bool {
        let Some(file) = &mut self.file else { return true };
        match file.append(&message.to_record()) {
            Ok(place) => {
                self.spool.replace_last(Stored::File { place, republished: message.republished });
                true
            }
            Err(_) => {
                self.unwritten += 1;
                self.spool.pop_last();
                false
            }
        }
    }

    /// How many messages the folder did not take since the last call.
    pub(super) fn take_unwritten(&mut self) -> u64 {
        std::mem::take(&mut self.unwritten)
    }

    /// Puts those back that were on their way, in their order.
    pub(super) fn put_back(&mut self, parcels: Vec<Parcel>) {
        let back = parcels.into_iter().map(|parcel| {
            let republished = parcel.message.republished;
            let stored = match parcel.place {
                Some(place) => Stored::File { place, republished },
                None => Stored::Memory(Arc::clone(&parcel.message)),
            };
            entry(&parcel, stored, parcel.message.bytes())
        });
        self.spool.put_back(back.collect());
    }

    /// Takes the oldest that can be read; the number are those that could not.
    pub(super) fn take(&mut self) -> (Option<Parcel>, usize) {
        let mut lost = 0;
        while let Some(entry) = self.spool.pop() {
            match entry.item {
                Stored::Memory(message) => {
                    return (Some(Parcel { message, lane: entry.lane, place: None }), lost);
                }
                Stored::File { place, republished } => {
                    let read = self.file.as_ref().and_then(|file| file.read(place).ok());
                    let message = read.and_then(|record| Message::from_record(&record));
                    if let Some(message) = message {
                        let message = Arc::new(Message { republished, ..message });
                        let parcel = Parcel { message, lane: entry.lane, place: Some(place) };
                        return (Some(parcel), lost);
                    }
                    lost += 1;
                }
            }
        }
        (None, lost)
    }

    /// A message has a fate and need not be kept.
    pub(super) fn done(&mut self, place: Option<Place>) {
        if let (Some(file), Some(place)) = (&mut self.file, place) {
            // If it cannot be written down, the message may be sent once more after a crash.
            let _unwritten = file.done(place.seq);
        }
    }

    fn release(&mut self, entry: &Entry<Stored>) {
        if let Stored::File { place, .. } = entry.item {
            self.done(Some(place));
        }
    }

    /// Throws away what nobody wants any more.
    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        let gone = self.spool.take_expired(now_ms);
        for entry in &gone {
            self.release(entry);
        }
        gone.len()
    }

    /// The process ends: what is in memory is written down, if there is a folder. How many are
    /// kept, and how many are lost.
    pub(super) fn close(&mut self) -> (usize, usize) {
        let (mut kept, mut lost) = (0, 0);
        while let Some(entry) = self.spool.pop() {
            let written = match (&entry.item, &mut self.file) {
                (Stored::File { .. }, _) => true,
                (Stored::Memory(message), Some(file)) => file.append(&message.to_record()).is_ok(),
                (Stored::Memory(_), None) => false,
            };
            kept += usize::from(written);
            lost += usize::from(!written);
        }
        (kept, lost)
    }
}

fn entry(parcel: &Parcel, item: Stored, bytes: usize) -> Entry<Stored> {
    let Message { deadline_ms, at_ms, .. } = *parcel.message;
    Entry { item, lane: parcel.lane, bytes, deadline_ms, at_ms }
}

fn same(stored: &Stored, parcel: &Parcel) -> bool {
    matches!(stored, Stored::Memory(message) if Arc::ptr_eq(message, &parcel.message))
}

//! The spool in a folder: records appended to segments, replayed after a crash.
//!
//! A record is `length u32, crc32 u32, content`, little endian. Its content is a kind and a
//! sequence number; a message has bytes after that, a "done" names a message that need not be
//! kept any longer. A segment is deleted when nothing of it is wanted and nothing older is left.
//! Reading ends at the first record that is cut short or does not sum up: what follows it was
//! never finished.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::base::Map;

const MESSAGE: u8 = 1;
const DONE: u8 = 2;
const HEAD_BYTES: usize = 8;
/// Kind and sequence number.
const NAME_BYTES: usize = 9;
/// Largest content of a record; a longer one is no record.
const CONTENT_BYTES_MAX: usize = 64 << 20;
/// Parts of the bound that one segment is.
const SEGMENTS: u64 = 8;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SUFFIX: &str = "spool";

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number; later ones are larger.
    pub(super) seq: u64,
    segment: u64,
    offset: u64,
    bytes: u32,
}

/// A record's content.
#[derive(Debug, PartialEq, Eq)]
enum Record<'a> {
    Message { seq: u64, body: &'a [u8] },
    Done { seq: u64 },
}

fn record(kind: u8, seq: u64, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(HEAD_BYTES + NAME_BYTES + body.len());
    content.extend_from_slice(&[0; HEAD_BYTES]);
    content.push(kind);
    content.extend_from_slice(&seq.to_le_bytes());
    content.extend_from_slice(body);
    let length = u32::try_from(content.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(&content[HEAD_BYTES..]);
    content[..4].copy_from_slice(&length.to_le_bytes());
    content[4..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    content
}

/// The record at the start of `bytes`, and its length with its head.
fn read_record(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(0)?).ok()?;
    if !(NAME_BYTES..=CONTENT_BYTES_MAX).contains(&length) {
        return None;
    }
    let content = bytes.get(HEAD_BYTES..HEAD_BYTES + length)?;
    if crc32fast::hash(content) != number(4)? {
        return None;
    }
    let seq = u64::from_le_bytes(content[1..NAME_BYTES].try_into().ok()?);
    let record = match content[0] {
        MESSAGE => Record::Message { seq, body: &content[NAME_BYTES..] },
        DONE => Record::Done { seq },
        _ => return None,
    };
    Some((record, HEAD_BYTES + length))
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// Messages in it that are still wanted.
    wanted: u64,
}

/// The segments of one folder. One process at a time may use it.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    writer: Option<File>,
    /// The segment of each message that is wanted.
    wanted: Map<u64, u64>,
    next_seq: u64,
    bytes: u64,
    bytes_max: u64,
    _lock: File,
}

/// What a folder held.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) segments: Segments,
    /// The messages that were not done, in their order.
    pub(super) messages: Vec<(Place, Vec<u8>)>,
    /// Bytes that were no record and are gone.
    pub(super) torn_bytes: u64,
}

impl Segments {
    /// Opens a folder, made if it is not there, and reads what it holds.
    ///
    /// # Errors
    /// It cannot be used, or another process uses it.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> io::Result<Replayed> {
        let lock = super::files::lock(folder)?;
        let mut numbers = Vec::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let number = stem.and_then(|stem| stem.parse::<u64>().ok());
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                numbers.extend(number);
            }
        }
        numbers.sort_unstable();
        let mut this = Self {
            folder: folder.to_owned(),
            segments: VecDeque::new(),
            writer: None,
            wanted: super::ids::map(),
            next_seq: 1,
            bytes: 0,
            bytes_max,
            _lock: lock,
        };
        let (mut messages, mut torn_bytes) = (Vec::new(), 0);
        for number in numbers {
            torn_bytes += this.replay(number, &mut messages)?;
        }
        messages.retain(|(place, _)| this.wanted.contains_key(&place.seq));
        for (place, _) in &messages {
            if let Some(segment) = this.segment(place.segment) {
                segment.wanted += 1;
            }
        }
        this.delete_done()?;
        Ok(Replayed { segments: this, messages, torn_bytes })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.{SUFFIX}"))
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.number == number)
    }

    /// Reads one segment; the bytes behind its last good record are cut off and counted.
    fn replay(&mut self, number: u64, messages: &mut Vec<(Place, Vec<u8>)>) -> io::Result<u64> {
        let path = self.path(number);
        let bytes = fs::read(&path)?;
        let mut offset = 0;
        while let Some((record, length)) = read_record(&bytes[offset..]) {
            match record {
                Record::Message { seq, body } => {
                    let place = Place {
                        seq,
                        segment: number,
                        offset: offset as u64,
                        bytes: u32::try_from(length).unwrap_or(u32::MAX),
                    };
                    self.wanted.insert(seq, number);
                    messages.push((place, body.to_vec()));
                    self.next_seq = self.next_seq.max(seq + 1);
                }
                Record::Done { seq } => {
                    self.wanted.remove(&seq);
                    self.next_seq = self.next_seq.max(seq + 1);
                }
            }
            offset += length;
        }
        let torn = (bytes.len() - offset) as u64;
        if torn > 0 {
            OpenOptions::new().write(true).open(&path)?.set_len(offset as u64)?;
        }
        self.segments.push_back(Segment { number, bytes: offset as u64, wanted: 0 });
        self.bytes += offset as u64;
        Ok(torn)
    }

    /// Whether a message of so many bytes fits.
    pub(super) fn has_room(&self, body_bytes: usize) -> bool {
        let record = (HEAD_BYTES + NAME_BYTES + body_bytes) as u64;
        self.bytes + record <= self.bytes_max
    }

    /// Writes a message down. It outlives this process, not the machine: nothing waits for a disk.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn append(&mut self, body: &[u8]) -> io::Result<Place> {
        let seq = self.next_seq;
        let bytes = record(MESSAGE, seq, body);
        let (segment, offset) = self.write(&bytes)?;
        self.next_seq += 1;
        self.wanted.insert(seq, segment);
        if let Some(segment) = self.segment(segment) {
            segment.wanted += 1;
        }
        let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Ok(Place { seq, segment, offset, bytes })
    }

    /// A message need not be kept any longer.
    ///
    /// # Errors
    /// That could not be written: after a crash it would be sent once more.
    pub(super) fn done(&mut self, seq: u64) -> io::Result<()> {
        let Some(number) = self.wanted.remove(&seq) else { return Ok(()) };
        if let Some(segment) = self.segment(number) {
            segment.wanted -= 1;
        }
        if !self.segments.front().is_some_and(|first| first.number == number && first.wanted == 0) {
            self.write(&record(DONE, seq, &[]))?;
        }
        self.delete_done()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It is not there any more, or not whole.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(place.segment))?;
        file.seek(SeekFrom::Start(place.offset))?;
        let mut bytes = vec![0; place.bytes as usize];
        file.read_exact(&mut bytes)?;
        match read_record(&bytes) {
            Some((Record::Message { seq, body }, _)) if seq == place.seq => Ok(body.to_vec()),
            _ => Err(io::Error::other("a record that does not sum up")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<(u64, u64)> {
        let segment_bytes = (self.bytes_max / SEGMENTS).max(SEGMENT_BYTES_MIN);
        let full = self.segments.back().is_none_or(|last| last.bytes >= segment_bytes);
        if full {
            let number = self.segments.back().map_or(1, |last| last.number + 1);
            self.writer = None;
            self.segments.push_back(Segment { number, bytes: 0, wanted: 0 });
        }
        let (number, offset) =
            self.segments.back().map_or((1, 0), |last| (last.number, last.bytes));
        if self.writer.is_none() {
            let path = self.path(number);
            self.writer = Some(OpenOptions::new().create(true).append(true).open(path)?);
        }
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.write_all(bytes)
        {
            // Half a record would hide all that follows it.
            writer.set_len(offset)?;
            return Err(error);
        }
        if let Some(last) = self.segments.back_mut() {
            last.bytes += bytes.len() as u64;
        }
        self.bytes += bytes.len() as u64;
        Ok((number, offset))
    }

    /// Deletes segments from the oldest on, as far as nothing in them is wanted.
    fn delete_done(&mut self) -> io::Result<()> {
        while self.segments.front().is_some_and(|first| first.wanted == 0) {
            let Some(first) = self.segments.pop_front() else { break };
            if self.segments.is_empty() {
                self.writer = None;
            }
            self.bytes -= first.bytes;
            let gone = fs::remove_file(self.path(first.number));
            gone.or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;

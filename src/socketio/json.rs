//! Payloads of the default parser: judged, and looked at as far as routing needs.

use super::ParseError;
use super::packet::is_reserved;
use super::scan::{BLANKS, Deaf, Nest, Scan, Visit, unescape_into};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The judge of payloads, one a core: it keeps its scratch from packet to packet.
///
/// Every judgement is one scalar pass, whatever the size. It was measured against a simd-json
/// tape on reused buffers (with the copy that it edits), nanoseconds an event:
///
/// | bytes | many small members: this, with placeholders, simd-json | one long string: likewise |
/// | --- | --- | --- |
/// | 73, 77 | 96, 140, 188 | 33, 43, 83 |
/// | 248, 273 | 300, 450, 550 | 60, 70, 118 |
/// | 1,026, 1,029 | 1,190, 1,750, 2,060 | 153, 163, 250 |
/// | 4,098, 4,109 | 4,300, 6,500, 7,400 | 550, 560, 830 |
/// | 16,386, 16,401 | 16,800, 25,000, 28,300 | 2,100, 2,100, 3,300 |
///
/// A tape builds what nobody reads here, so there is no size from which it pays.
#[derive(Default)]
pub struct JsonChecker {
    places: Places,
    /// Which attachments were referred to.
    named: BTreeSet<u32>,
}

/// What an event says, as slices of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBody<'a> {
    /// The name, unescaped; of a numeric name, the number's text.
    pub name: Cow<'a, str>,
    /// Whether the name is a JSON number (`42[1,2]` is legal).
    pub name_is_number: bool,
    /// The name's JSON token as it stood, with the quotes of a string.
    pub name_raw: &'a str,
    /// The arguments as they stood, without the commas and blanks around them; "" if none.
    pub args: &'a str,
}

impl JsonChecker {
    /// A judge with empty scratch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the payload of an event with so many attachments (0: placeholders are not looked
    /// for, an object that resembles one is data).
    ///
    /// Rule: socket.io-parser, `isPayloadValid`: an array whose first item is a number or a
    /// string that is not reserved; `reconstructPacket`: every placeholder names an attachment.
    /// Attachments that are never referred to are fine. One that is referred to twice is not,
    /// unlike in Node: no encoder writes that, and it would be copied for each form that has no
    /// placeholders, a text of 1 MB making gigabytes of an attachment of 1 MB.
    ///
    /// # Errors
    /// [`ParseError`]; [`ParseError::PayloadMissing`] for the packet `2` alone, which Node
    /// ignores: ask for `data.is_empty()` before.
    pub fn event<'a>(
        &mut self,
        data: &'a str,
        attachments: u32,
    ) -> Result<EventBody<'a>, ParseError> {
        let mut scan = open_array(data)?;
        let start = scan.at();
        let mut name_is_number = false;
        match scan.peek() {
            b'"' => scan.string()?,
            b'-' | b'0'..=b'9' => {
                name_is_number = true;
                scan.number()?;
            }
            _ => return Err(ParseError::EventName),
        }
        let name_raw = scan.since(start);
        let name = if name_is_number { Cow::Borrowed(name_raw) } else { unquote(name_raw) };
        if !name_is_number && is_reserved(&name) {
            return Err(ParseError::ReservedName);
        }
        let args = self.rest(scan, attachments, true)?;
        Ok(EventBody { name, name_is_number, name_raw, args })
    }

    /// Judges the payload of an acknowledgement and gives back what stands inside its brackets.
    /// Nothing at all is an acknowledgement without arguments.
    ///
    /// # Errors
    /// [`ParseError`] if it is no array, or as for [`JsonChecker::event`].
    pub fn ack<'a>(&mut self, data: &'a str, attachments: u32) -> Result<&'a str, ParseError> {
        if data.is_empty() {
            return Ok("");
        }
        let scan = open_array(data)?;
        self.rest(scan, attachments, false)
    }

    /// Judges the payload of CONNECT: an object, or nothing.
    ///
    /// # Errors
    /// [`ParseError`] if it is something else or no JSON.
    pub fn connect(&mut self, data: &str) -> Result<(), ParseError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut scan = Scan::new(data);
        scan.blank();
        if scan.peek() != b'{' {
            return Err(ParseError::PayloadType);
        }
        self.value(data)
    }

    /// Judges any one JSON value.
    ///
    /// # Errors
    /// [`ParseError::Json`] or [`ParseError::TooDeep`].
    pub fn value(&mut self, data: &str) -> Result<(), ParseError> {
        let mut scan = Scan::new(data);
        scan.values(&mut Nest::default(), &mut Deaf)?;
        scan.finish()
    }

    /// Passes the rest of an open array and gives back the values in it.
    fn rest<'a>(
        &mut self,
        scan: Scan<'a>,
        attachments: u32,
        after_name: bool,
    ) -> Result<&'a str, ParseError> {
        if attachments == 0 {
            return rest_of_array(scan, after_name, &mut Deaf);
        }
        self.places.restart();
        self.named.clear();
        let (named, places) = (&mut self.named, &mut self.places);
        let mut visit = Placeholders { count: attachments, named, places };
        visit.open(false)?;
        rest_of_array(scan, after_name, &mut visit)
    }
}

/// A pass that stands at the first item of the array that `data` is.
fn open_array(data: &str) -> Result<Scan<'_>, ParseError> {
    let mut scan = Scan::new(data);
    scan.blank();
    match scan.peek() {
        b'[' => scan.step(),
        0 if data.is_empty() => return Err(ParseError::PayloadMissing),
        _ => return Err(ParseError::PayloadType),
    }
    scan.blank();
    Ok(scan)
}

/// From the first item (or from behind the name) to the end of the text.
fn rest_of_array<'a>(
    mut scan: Scan<'a>,
    after_name: bool,
    visit: &mut impl Visit,
) -> Result<&'a str, ParseError> {
    let mut nest = Nest::in_array();
    let some = if after_name { scan.after_value(&mut nest, visit)? } else { scan.peek() != b']' };
    scan.blank();
    let start = scan.at();
    if some {
        scan.values(&mut nest, visit)?;
    } else if !after_name {
        scan.step();
    }
    let inside = scan.since(start);
    scan.finish()?;
    if !some {
        return Ok("");
    }
    let inside = inside.strip_suffix(']').unwrap_or(inside);
    Ok(inside.trim_end_matches(BLANKS))
}

/// The characters of a JSON string token; borrowed where it has no escapes.
fn unquote(token: &str) -> Cow<'_, str> {
    let raw = &token[1..token.len() - 1];
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut name = String::with_capacity(raw.len());
    unescape_into(raw, &mut name);
    Cow::Owned(name)
}

/// Watches for objects that are placeholders, as JavaScript would see them after `JSON.parse`:
/// keys unescaped, the last of equal keys counts, `0.0` is a whole number.
#[derive(Default)]
pub(super) struct Places(Vec<Place>);

/// One open container.
#[derive(Clone, Copy, Default)]
struct Place {
    due: Due,
    marked: bool,
    num: Option<u32>,
}

/// Which member's value comes next.
#[derive(Clone, Copy, Default)]
enum Due {
    #[default]
    Other,
    Mark,
    Num,
}

/// What a container was, known at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// Data like any other.
    Data,
    /// `{"_placeholder":true,"num":…}`, with the number if it is a whole one from 0.
    Placeholder(Option<u32>),
}

impl Places {
    pub(super) fn restart(&mut self) {
        self.0.clear();
    }

    pub(super) fn open(&mut self) {
        self.member(|_| (false, None));
        self.0.push(Place::default());
    }

    pub(super) fn close(&mut self) -> Closed {
        match self.0.pop() {
            Some(place) if place.marked => Closed::Placeholder(place.num),
            _ => Closed::Data,
        }
    }

    pub(super) fn key(&mut self, raw: &str) {
        if let Some(place) = self.0.last_mut() {
            place.due = if raw.contains('\\') {
                let mut key = String::with_capacity(raw.len());
                unescape_into(raw, &mut key);
                due(&key)
            } else {
                due(raw)
            };
        }
    }

    pub(super) fn scalar(&mut self, raw: &str) {
        self.member(|due| match due {
            Due::Mark => (raw == "true", None),
            _ => (false, whole_number(raw)),
        });
    }

    #[inline]
    fn member(&mut self, value: impl FnOnce(Due) -> (bool, Option<u32>)) {
        if let Some(place) = self.0.last_mut() {
            match place.due {
                Due::Other => {}
                Due::Mark => place.marked = value(Due::Mark).0,
                Due::Num => place.num = value(Due::Num).1,
            }
            place.due = Due::Other;
        }
    }
}

fn due(key: &str) -> Due {
    match key {
        "_placeholder" => Due::Mark,
        "num" => Due::Num,
        _ => Due::Other,
    }
}

/// The index a JSON token names, if it is a number, whole, and one that an attachment can have.
fn whole_number(raw: &str) -> Option<u32> {
    if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    if let Ok(number) = raw.parse() {
        return Some(number);
    }
    // Other ways to write a whole number (`1.0`, `1e0`, `-0`): nobody does, but JavaScript may.
    let number: f64 = raw.parse().ok()?;
    let whole = number.fract() == 0.0 && number >= 0.0 && number <= f64::from(u32::MAX);
    if whole { format!("{:.0}", number.abs()).parse().ok() } else { None }
}

/// Refuses placeholders that name no attachment, or one that another has named.
struct Placeholders<'c> {
    count: u32,
    named: &'c mut BTreeSet<u32>,
    places: &'c mut Places,
}

impl Visit for Placeholders<'_> {
    fn open(&mut self, _object: bool) -> Result<(), ParseError> {
        self.places.open();
        Ok(())
    }

    fn close(&mut self) -> Result<(), ParseError> {
        match self.places.close() {
            Closed::Placeholder(num) => {
                let is_first = num.is_some_and(|num| num < self.count && self.named.insert(num));
                if is_first { Ok(()) } else { Err(ParseError::Placeholder) }
            }
            Closed::Data => Ok(()),
        }
    }

    fn key(&mut self, raw: &str) -> Result<(), ParseError> {
        self.places.key(raw);
        Ok(())
    }

    fn scalar(&mut self, raw: &str) -> Result<(), ParseError> {
        self.places.scalar(raw);
        Ok(())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

//! One pass over JSON text, by JavaScript's grammar.
//!
//! The grammar is ECMA-404's, as `JSON.parse` reads it: lone surrogate escapes and numbers of
//! any size are fine, a control character inside a string or a comma too many is not. Nothing
//! is built; who wants to know what went by hands in a [`Visit`].
//!
//! Iterative: nesting costs a bit of a `u128` a level, never stack.

use super::ParseError;

/// How deep JSON and msgpack payloads may be nested, the outermost array being the first level.
///
/// `serde_json`, which typed reads go through, gives up at the same depth.
pub const DEPTH_MAX: usize = 128;

/// The four characters that JSON calls white space.
pub(super) const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// What a pass tells its caller. The plain check listens to nothing and pays for nothing.
pub(super) trait Visit {
    /// Whether to cut keys and scalars out of the text at all (a cut looks for the borders of
    /// characters: a tenth of the whole pass).
    const LISTENS: bool = true;

    /// A container begins; it is itself a value of the container around it.
    #[inline]
    fn open(&mut self, _object: bool) -> Result<(), ParseError> {
        Ok(())
    }

    /// The innermost container ends.
    #[inline]
    fn close(&mut self) -> Result<(), ParseError> {
        Ok(())
    }

    /// A key of the innermost object, without its quotes, escapes as they stood.
    #[inline]
    fn key(&mut self, _raw: &str) -> Result<(), ParseError> {
        Ok(())
    }

    /// A string with its quotes, a number, `true`, `false` or `null`.
    #[inline]
    fn scalar(&mut self, _raw: &str) -> Result<(), ParseError> {
        Ok(())
    }
}

/// Listens to nothing.
pub(super) struct Deaf;

impl Visit for Deaf {
    const LISTENS: bool = false;
}

/// Which containers are open: bit 0 is the innermost one, set for an object.
#[derive(Default)]
pub(super) struct Nest {
    objects: u128,
    depth: usize,
}

const _: () = assert!(DEPTH_MAX <= 128, "a nest is one u128");

impl Nest {
    /// One array is open and nothing else.
    pub(super) const fn in_array() -> Self {
        Self { objects: 0, depth: 1 }
    }

    #[inline]
    fn push(&mut self, object: bool) -> Result<(), ParseError> {
        if self.depth == DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        self.objects = (self.objects << 1) | u128::from(object);
        self.depth += 1;
        Ok(())
    }

    #[inline]
    const fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    #[inline]
    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// A place in a text.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the pass stands, in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The byte here, or 0 at the end: no rule of the grammar names the byte 0.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) const fn step(&mut self) {
        self.at += 1;
    }

    /// Skips the four characters that JSON calls white space.
    #[inline]
    pub(super) fn blank(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Nothing but blanks may follow.
    pub(super) fn finish(&mut self) -> Result<(), ParseError> {
        self.blank();
        if self.at == self.text.len() { Ok(()) } else { Err(ParseError::Json) }
    }

    /// What lies between `start` and here.
    #[inline]
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Passes values until every container of `nest` is closed; a value is due first.
    pub(super) fn values<V: Visit>(
        &mut self,
        nest: &mut Nest,
        visit: &mut V,
    ) -> Result<(), ParseError> {
        loop {
            self.blank();
            let start = self.at;
            match self.peek() {
                b'[' => {
                    nest.push(false)?;
                    visit.open(false)?;
                    self.at += 1;
                    self.blank();
                    if self.peek() != b']' {
                        continue;
                    }
                }
                b'{' => {
                    nest.push(true)?;
                    visit.open(true)?;
                    self.at += 1;
                    self.blank();
                    if self.peek() != b'}' {
                        self.key(visit)?;
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                    if V::LISTENS {
                        visit.scalar(self.since(start))?;
                    }
                }
            }
            if !self.after_value(nest, visit)? {
                return Ok(());
            }
        }
    }

    /// Passes what follows a value: a comma (true: another value is due), or the ends of
    /// containers until the last one is closed (false).
    #[inline]
    pub(super) fn after_value(
        &mut self,
        nest: &mut Nest,
        visit: &mut impl Visit,
    ) -> Result<bool, ParseError> {
        while nest.depth > 0 {
            self.blank();
            match (self.peek(), nest.in_object()) {
                (b',', object) => {
                    self.at += 1;
                    if object {
                        self.blank();
                        self.key(visit)?;
                    }
                    return Ok(true);
                }
                (b']', false) | (b'}', true) => {
                    self.at += 1;
                    nest.pop();
                    visit.close()?;
                }
                _ => return Err(ParseError::Json),
            }
        }
        Ok(false)
    }

    /// `"key":`
    #[inline]
    fn key<V: Visit>(&mut self, visit: &mut V) -> Result<(), ParseError> {
        if self.peek() != b'"' {
            return Err(ParseError::Json);
        }
        let start = self.at + 1;
        self.string()?;
        if V::LISTENS {
            visit.key(&self.text[start..self.at - 1])?;
        }
        self.blank();
        if self.peek() != b':' {
            return Err(ParseError::Json);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => Err(ParseError::Json),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), ParseError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(ParseError::Json);
        }
        self.at += word.len();
        Ok(())
    }

    /// A string, the opening quote being here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<(), ParseError> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            self.at = find_special(bytes, self.at);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                // A control character, or the text is over.
                _ => return Err(ParseError::Json),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ParseError> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = bytes.get(self.at + 2..self.at + 6).ok_or(ParseError::Json)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(ParseError::Json);
                }
                self.at += 6;
            }
            _ => return Err(ParseError::Json),
        }
        Ok(())
    }

    /// A number: `-`, whole part without leading zeros, fraction, exponent.
    #[inline]
    pub(super) fn number(&mut self) -> Result<(), ParseError> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(ParseError::Json) } else { Ok(()) }
    }
}

/// The first byte from `at` on that means something inside a JSON string (a quote, a backslash,
/// a control character), or the end. Eight bytes a step.
#[inline]
pub(super) fn find_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The classic "has a zero byte"; it errs only above a true hit, and the lowest one counts.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quote = zeros(word ^ (ONES * 0x22));
        let backslash = zeros(word ^ (ONES * 0x5C));
        let hits = control | quote | backslash;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
        rest = after;
    }
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    at + rest.iter().take_while(|byte| plain(byte)).count()
}

/// Appends the characters of a valid JSON string (without its quotes) to `out`; a surrogate that
/// stands alone becomes U+FFFD, because no Rust string can hold it.
pub(super) fn unescape_into(raw: &str, out: &mut String) {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|&byte| byte == b'\\') {
        out.push_str(&raw[at..at + found]);
        at += found;
        let (escaped, length) = match bytes.get(at + 1) {
            Some(b'u') => unicode_escape(bytes, at),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'/') => ('/', 2),
            Some(b'"') => ('"', 2),
            // Only a second backslash is left in valid JSON.
            _ => ('\\', 2),
        };
        out.push(escaped);
        at += length;
    }
    out.push_str(&raw[at..]);
}

/// The character at an escape `\uXXXX`, or at a pair of them, and its length in bytes.
pub(super) fn unicode_escape(bytes: &[u8], at: usize) -> (char, usize) {
    let unit = code_unit(bytes, at).unwrap_or(0xFFFD);
    if let Some(single) = char::from_u32(unit) {
        return (single, 6);
    }
    if let (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) = (unit, code_unit(bytes, at + 6)) {
        let pair = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        return (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::REPLACEMENT_CHARACTER, 6)
}

fn code_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let escape = bytes.get(at..at + 6)?;
    if !escape.starts_with(b"\\u") {
        return None;
    }
    escape[2..].iter().try_fold(0, |unit, &digit| Some(unit * 16 + char::from(digit).to_digit(16)?))
}

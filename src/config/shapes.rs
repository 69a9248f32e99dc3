//! The kinds of value an option can have: how one is read, written and described.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

/// How a value stands in the file and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; as a flag it may stand alone.
    Bool,
    /// A whole number.
    Integer,
    /// One string.
    Text,
    /// Several strings: an array in the file, commas or repetition elsewhere.
    List,
    /// One string that is never shown.
    Secret,
}

type Read<T> = Box<dyn Fn(&[String]) -> Option<T>>;

/// What is known of one option's values.
pub(super) struct Shape<T> {
    pub(super) kind: Kind,
    /// Ends the sentence "allowed is …".
    pub(super) allowed: String,
    /// From the written items (exactly one, unless the kind is a list).
    pub(super) read: Read<T>,
    /// Back to what `read` takes; a secret gives `***`.
    pub(super) write: fn(&T) -> Vec<String>,
}

/// A key or password. It can be compared and exposed on purpose, not printed by accident.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the secret. How long it takes tells the candidate's length only.
    #[must_use]
    pub fn matches(&self, candidate: &str) -> bool {
        let secret = self.0.as_bytes();
        let mut differs = u8::from(secret.len() != candidate.len());
        for (place, byte) in candidate.bytes().enumerate() {
            differs |= byte ^ secret.get(place % secret.len().max(1)).copied().unwrap_or(1);
        }
        std::hint::black_box(differs) == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// An option with a closed list of words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The words, in the order of the declaration.
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, choice)| *choice == self);
        found.expect("the macro lists every variant").0
    }

    fn from_word(text: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
    }
}

pub(super) fn yes_no() -> Shape<bool> {
    Shape {
        kind: Kind::Bool,
        allowed: "true or false".into(),
        read: Box::new(|items| one(items)?.parse().ok()),
        write: |value| vec![value.to_string()],
    }
}

pub(super) fn number<T>(range: RangeInclusive<T>) -> Shape<T>
where
    T: FromStr + PartialOrd + fmt::Display + 'static,
{
    Shape {
        kind: Kind::Integer,
        allowed: format!("{} to {}", range.start(), range.end()),
        read: Box::new(move |items| {
            // `+5` is a number to Rust and a typing mistake to us.
            let text = one(items).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            text.parse().ok().filter(|value| range.contains(value))
        }),
        write: |value| vec![value.to_string()],
    }
}

/// One string, normalised and checked by `accept`.
pub(super) fn text(accept: fn(&str) -> Option<String>, allowed: &str) -> Shape<String> {
    Shape {
        kind: Kind::Text,
        allowed: allowed.into(),
        read: Box::new(move |items| accept(one(items)?)),
        write: |value| vec![value.clone()],
    }
}

/// Any number of different strings, each normalised and checked by `accept`.
pub(super) fn texts(accept: fn(&str) -> Option<String>, allowed: &str) -> Shape<Vec<String>> {
    Shape {
        kind: Kind::List,
        allowed: allowed.into(),
        read: Box::new(move |items| distinct(items.iter().map(|item| accept(item)))),
        write: Clone::clone,
    }
}

pub(super) fn choice<T: Choice>() -> Shape<T> {
    Shape {
        kind: Kind::Text,
        allowed: words::<T>(" or "),
        read: Box::new(|items| T::from_word(one(items)?)),
        write: |value| vec![value.word().into()],
    }
}

/// At least one of the words.
pub(super) fn choices<T: Choice>() -> Shape<Vec<T>> {
    Shape {
        kind: Kind::List,
        allowed: format!("a list of {}", words::<T>(" and ")),
        read: Box::new(|items| {
            let chosen = distinct(items.iter().map(|item| T::from_word(item)))?;
            Some(chosen).filter(|chosen| !chosen.is_empty())
        }),
        write: |values| values.iter().map(|value| value.word().into()).collect(),
    }
}

/// An address; a bare port is taken to mean this machine only.
pub(super) fn loopback_address() -> Shape<SocketAddr> {
    Shape {
        kind: Kind::Text,
        allowed: "an address such as 127.0.0.1:3002, or a port".into(),
        read: Box::new(|items| address(one(items)?, Ipv4Addr::LOCALHOST.into())),
        write: |value| vec![value.to_string()],
    }
}

/// Addresses, at least one; a bare port is taken to mean every interface.
pub(super) fn addresses() -> Shape<Vec<SocketAddr>> {
    const ADDRESSES_MAX: usize = 16;
    Shape {
        kind: Kind::List,
        allowed: "1 to 16 addresses such as 0.0.0.0:3001 or [::]:3001, or ports".into(),
        read: Box::new(|items| {
            let everywhere = Ipv6Addr::UNSPECIFIED.into();
            let found = distinct(items.iter().map(|item| address(item, everywhere)))?;
            Some(found).filter(|found| (1..=ADDRESSES_MAX).contains(&found.len()))
        }),
        write: |values| values.iter().map(ToString::to_string).collect(),
    }
}

/// Addresses beside those that there are anyway; none is fine.
pub(super) fn more_addresses() -> Shape<Vec<SocketAddr>> {
    const ADDRESSES_MAX: usize = 16;
    Shape {
        kind: Kind::List,
        allowed: "at most 16 addresses such as 0.0.0.0:3443 or [::]:3443, or ports".into(),
        read: Box::new(|items| {
            let everywhere = Ipv6Addr::UNSPECIFIED.into();
            let found = distinct(items.iter().map(|item| address(item, everywhere)))?;
            Some(found).filter(|found| found.len() <= ADDRESSES_MAX)
        }),
        write: |values| values.iter().map(ToString::to_string).collect(),
    }
}

/// CPU numbers, one by one or in ranges: `0-3,6`.
pub(super) fn cpus() -> Shape<Vec<u16>> {
    Shape {
        kind: Kind::List,
        allowed: "at most 256 CPU numbers below 1024, each once, such as 0-3,6".into(),
        read: Box::new(read_cpus),
        write: |values| values.iter().map(ToString::to_string).collect(),
    }
}

/// A key that a client can send in a header; absent unless set.
pub(super) fn secret() -> Shape<Option<Secret>> {
    Shape {
        kind: Kind::Secret,
        allowed: KEY_ALLOWED.into(),
        read: Box::new(|items| Some(Some(Secret::new(one(items).filter(|key| is_key(key))?)))),
        write: |value| value.iter().map(|_| "***".into()).collect(),
    }
}

/// Where a message broker is, with a password in it.
pub(super) fn amqp_url() -> Shape<Option<Secret>> {
    let fits = |url: &&str| {
        let rest = url.strip_prefix("amqp://").or_else(|| url.strip_prefix("amqps://"));
        url.len() <= 2_048
            && url.bytes().all(|byte| byte.is_ascii_graphic())
            && rest.is_some_and(|rest| !rest.is_empty())
    };
    Shape {
        kind: Kind::Secret,
        allowed: "an address that starts with amqp:// or amqps://".into(),
        read: Box::new(move |items| Some(Some(Secret::new(one(items).filter(fits)?)))),
        write: |value| value.iter().map(|_| "***".into()).collect(),
    }
}

/// A name at the broker, or the start of one.
pub(super) fn broker_name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.into())
}

/// The same, or nothing.
pub(super) fn broker_name_or_none(text: &str) -> Option<String> {
    if text.is_empty() { Some(String::new()) } else { broker_name(text) }
}

/// A path of the file system, or nothing.
pub(super) fn any_path(text: &str) -> Option<String> {
    (text.len() <= 4_096 && !text.contains('\0')).then(|| text.into())
}

/// What [`is_key`] accepts.
pub(super) const KEY_ALLOWED: &str = "8 to 256 visible ASCII characters";

/// Whether `text` can be an API key: it must survive an HTTP header unchanged.
pub(super) fn is_key(text: &str) -> bool {
    (8..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Names of rooms, namespaces and users: UTF-8, 1 to 256 bytes, no control characters.
pub(super) fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A room's name, as it stands.
pub(super) fn room(text: &str) -> Option<String> {
    is_name(text).then(|| text.into())
}

/// Rule: socket.io-protocol v5, "Packet encoding": a comma ends the namespace on the wire, and
/// what follows `?` is no part of its name.
pub(super) fn namespace(text: &str) -> Option<String> {
    let fits = is_name(text) && text.starts_with('/') && !text.contains([',', '?']);
    fits.then(|| text.into())
}

/// The path of the protocol's endpoint, with a slash at both ends.
pub(super) fn url_path(text: &str) -> Option<String> {
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    // Those answered by REST and the probes on the same listener.
    let taken = ["api", "socket", "healthz", "readyz"].contains(&inner);
    let fits = (1..=200).contains(&inner.len())
        && inner.bytes().all(plain)
        && inner.split('/').all(|segment| !["", ".", ".."].contains(&segment));
    (fits && !taken).then(|| format!("/{inner}/"))
}

/// Rule: RFC 6454 section 6.2, the ASCII serialisation of an origin: no path, not even a slash.
pub(super) fn origin(text: &str) -> Option<String> {
    if text == "*" || text == "null" {
        return Some(text.into());
    }
    let (scheme, host) = text.split_once("://")?;
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let in_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*\\\"'".contains(&byte);
    let fits = !scheme.is_empty() && scheme.bytes().all(in_scheme);
    // A browser sends both in lower case, and origins are compared byte by byte.
    (fits && !host.is_empty() && host.bytes().all(in_host)).then(|| text.to_ascii_lowercase())
}

/// An address, or a network of them, in its shortest form.
pub(super) fn network(text: &str) -> Option<String> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network: IpNet = text.parse().ok().or_else(single)?;
    Some(network.trunc().to_string())
}

/// A name, or nothing.
pub(super) fn claim_or_none(text: &str) -> Option<String> {
    (text.is_empty() || is_name(text)).then(|| text.into())
}

/// Where an identity provider is, or nothing. What goes there is secret, so that it travels in the
/// clear on this machine only.
pub(super) fn provider(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let (rest, is_secure) = match text.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (text.strip_prefix("http://")?, false),
    };
    let plain = text.len() <= 2_048 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?.0,
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_here = || {
        let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(loopback)
    };
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let fits = plain
        && !text.contains(['#', '@', '\\', '"'])
        && !host.is_empty()
        && host.bytes().all(in_host);
    (fits && (is_secure || is_here())).then(|| text.into())
}

/// Rule: RFC 6265 section 4.1.1: a cookie's name is a token.
pub(super) fn cookie_name(text: &str) -> Option<String> {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(in_token)).then(|| text.into())
}

fn one(items: &[String]) -> Option<&str> {
    match items {
        [item] => Some(item),
        _ => None,
    }
}

/// Every item once, in order; `None` where one does not read.
fn distinct<T: PartialEq>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut kept = Vec::new();
    for item in items {
        let item = item?;
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    Some(kept)
}

fn words<T: Choice>(last: &str) -> String {
    let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
    match words.split_last() {
        Some((end, start)) if !start.is_empty() => format!("{}{last}{end}", start.join(", ")),
        _ => words.concat(),
    }
}

fn address(text: &str, bare_port_at: IpAddr) -> Option<SocketAddr> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(SocketAddr::new(bare_port_at, port.parse().ok()?));
    }
    match text.strip_prefix("localhost:") {
        Some(port) => address(port, Ipv4Addr::LOCALHOST.into()),
        None => text.parse().ok(),
    }
}

fn read_cpus(items: &[String]) -> Option<Vec<u16>> {
    const CPUS_MAX: usize = 256;
    // The set that a thread is pinned with holds so many.
    const CPU_ENDS: u16 = 1_024;
    let cpu = |text: &str| text.trim().parse::<u16>().ok().filter(|cpu| *cpu < CPU_ENDS);
    let mut cpus = Vec::new();
    for item in items {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        for cpu in cpu(first)?..=cpu(last)? {
            if cpus.contains(&cpu) || cpus.len() == CPUS_MAX {
                return None;
            }
            cpus.push(cpu);
        }
        // A reversed range is empty, and is a typing mistake.
        if cpu(first)? > cpu(last)? {
            return None;
        }
    }
    Some(cpus)
}

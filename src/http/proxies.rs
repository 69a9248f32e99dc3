//! What proxies in front say of their clients, and which of them are believed.

use core::net::{IpAddr, SocketAddr};
use std::str;

use ipnet::IpNet;

use super::head::Head;

/// The header in which proxies say who the client is. Only one is read: a proxy writes the one it
/// knows and passes the other on as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies in front, and how they speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

/// Who a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; the port is 0 where nobody named it.
    pub address: SocketAddr,
    /// Whether it came over TLS; `None` if no proxy that is believed has said.
    pub secure: Option<bool>,
    /// What a proxy that is believed said could not be read. The address is then that of the last
    /// hop that could.
    pub is_garbled: bool,
    /// The peer is not believed and named somebody it speaks for, in whichever header: a proxy that
    /// nobody has told us of, or a client that makes things up.
    pub is_ignored: bool,
}

/// Hops that are looked at, from ours on.
const HOPS_MAX: usize = 32;

impl Proxies {
    /// Proxies at these addresses and in these networks; an entry that is neither is left out.
    #[must_use]
    pub fn new(networks: &[String], header: ForwardedHeader) -> Self {
        let network = |text: &String| {
            let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse().ok().or_else(single)
        };
        Self { networks: networks.iter().filter_map(network).collect(), header }
    }

    /// Whether a peer is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Who a request is from: its peer or, if that is believed, the nearest hop behind it that is
    /// not.
    ///
    /// Rule: RFC 7239 section 7.4: what stands in front of the first hop that is believed may be
    /// made up. Hops are therefore read from the end of the list.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, head: &Head<'_>) -> Client {
        let mut client =
            Client { address: peer, secure: None, is_garbled: false, is_ignored: false };
        if self.networks.is_empty() || !self.trusts(peer.ip()) {
            client.is_ignored = is_forwarded(head);
            return client;
        }
        match self.header {
            ForwardedHeader::XForwardedFor => {
                self.follow(&mut client, backwards(head, "x-forwarded-for"), |entry| {
                    (node(entry), None)
                });
                let said = backwards(head, "x-forwarded-proto").next();
                client.secure = said.and_then(is_secure);
            }
            ForwardedHeader::Forwarded => {
                self.follow(&mut client, backwards(head, "forwarded"), element);
            }
        }
        client
    }

    /// Walks the hops from ours on, as far as they are believed.
    fn follow<'a>(
        &self,
        client: &mut Client,
        hops: impl Iterator<Item = &'a [u8]>,
        read: impl Fn(&'a [u8]) -> (Option<SocketAddr>, Option<bool>),
    ) {
        for hop in hops.take(HOPS_MAX) {
            let (address, secure) = read(hop);
            // Whoever is believed at this point has written this entry.
            client.secure = secure.or(client.secure);
            let Some(address) = address else {
                client.is_garbled = true;
                return;
            };
            client.address = address;
            if !self.trusts(address.ip()) {
                return;
            }
        }
    }
}

/// The entries of a list header, last one first, over all headers of that name. A comma in quotes
/// parts nothing.
fn backwards<'a>(head: &Head<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let values: Vec<&[u8]> = head.all(name).collect();
    values.into_iter().rev().flat_map(|value| {
        let mut entries = Vec::new();
        let (mut start, mut quoted, mut escaped) = (0, false, false);
        for (at, byte) in value.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    entries.push(value[start..at].trim_ascii());
                    start = at + 1;
                }
                _ => {}
            }
        }
        entries.push(value[start..].trim_ascii());
        entries.into_iter().rev().filter(|entry| !entry.is_empty())
    })
}

/// Whether a head names somebody it was forwarded for. The header that is not read counts too: the
/// option that names the header is set after the one that names the proxies.
fn is_forwarded(head: &Head<'_>) -> bool {
    head.has("x-forwarded-for") || head.has("forwarded")
}

fn is_secure(scheme: &[u8]) -> Option<bool> {
    if scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss") {
        Some(true)
    } else if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"ws") {
        Some(false)
    } else {
        None
    }
}

/// One element of `Forwarded`: the address behind `for`, and what `proto` says.
///
/// Shape: `for="[2001:db8::1]:4711";proto=https;by=203.0.113.43` (RFC 7239 section 4). Escapes in
/// a quoted value are in no address, so that one with them is none.
fn element(entry: &[u8]) -> (Option<SocketAddr>, Option<bool>) {
    let (mut address, mut secure) = (None, None);
    for pair in entry.split(|byte| *byte == b';') {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let value = bare.unwrap_or(value);
        if name.eq_ignore_ascii_case(b"for") {
            address = node(value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            secure = is_secure(value);
        }
    }
    (address, secure)
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or bare.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text).ok()?;
    let at = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), 0);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(at(ip));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6).map(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::http::parse_head;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let networks = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"].map(String::from);
        Proxies::new(&networks, header)
    }

    /// Who a request with these header lines is from, by a peer of this address.
    fn client(header: ForwardedHeader, peer: &str, lines: &str) -> Client {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let (head, _) = parse_head(text.as_bytes(), 1 << 16).unwrap().unwrap();
        let peer = SocketAddr::new(peer.parse().unwrap(), 9);
        proxies(header).client(peer, &head)
    }

    #[test]
    fn the_nearest_hop_that_is_not_believed_is_the_client() {
        let header = ForwardedHeader::XForwardedFor;
        for (peer, lines, address) in [
            // A stranger says what it likes.
            ("203.0.113.9", "X-Forwarded-For: 1.1.1.1\r\n", "203.0.113.9:9"),
            ("127.0.0.1", "", "127.0.0.1:9"),
            ("127.0.0.1", "X-Forwarded-For: 198.51.100.7\r\n", "198.51.100.7:0"),
            ("::ffff:127.0.0.1", "X-Forwarded-For: 198.51.100.7\r\n", "198.51.100.7:0"),
            // What the client made up stands in front of what the proxy has seen.
            ("127.0.0.1", "X-Forwarded-For: 1.1.1.1, 198.51.100.7\r\n", "198.51.100.7:0"),
            ("127.0.0.1", "X-Forwarded-For: 9.9.9.9,198.51.100.7,10.1.2.3\r\n", "198.51.100.7:0"),
            // Several headers are one list.
            (
                "127.0.0.1",
                "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 198.51.100.7, 10.0.0.1\r\n",
                "198.51.100.7:0",
            ),
            ("127.0.0.1", "X-Forwarded-For: 10.0.0.9, 10.0.0.1\r\n", "10.0.0.9:0"),
            ("127.0.0.1", "X-Forwarded-For: 198.51.100.7:443\r\n", "198.51.100.7:443"),
            ("fd00::1", "X-Forwarded-For: 2001:db8::1\r\n", "[2001:db8::1]:0"),
            ("fd00::1", "X-Forwarded-For: [2001:db8::1]\r\n", "[2001:db8::1]:0"),
            ("fd00::1", "X-Forwarded-For: [2001:db8::1]:5\r\n", "[2001:db8::1]:5"),
            // The other header is not looked at.
            ("127.0.0.1", "Forwarded: for=1.1.1.1\r\n", "127.0.0.1:9"),
        ] {
            let found = client(header, peer, lines);
            assert_eq!(
                (found.address.to_string(), found.is_garbled),
                (address.into(), false),
                "{lines}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_list_and_is_said() {
        let header = ForwardedHeader::XForwardedFor;
        for (said, address) in [
            ("unknown", "127.0.0.1:9"),
            ("1.1.1.1, _hidden", "127.0.0.1:9"),
            ("1.1.1.1, \"quoted, comma\", 10.0.0.1", "10.0.0.1:0"),
            ("1.1.1.1, [10.0.0.1]", "127.0.0.1:9"),
            ("1.1.1.1, 10.0.0.1:99999", "127.0.0.1:9"),
            ("1.1.1.1\t2.2.2.2", "127.0.0.1:9"),
        ] {
            let found = client(header, "127.0.0.1", &format!("X-Forwarded-For: {said}\r\n"));
            assert_eq!(
                (found.address.to_string(), found.is_garbled),
                (address.into(), true),
                "{said}"
            );
        }
    }

    #[test]
    fn what_a_stranger_says_is_ignored_and_that_is_said() {
        let lines = ["", "Via: 1.1 a\r\n", "X-Forwarded-Proto: https\r\n", "X-Forwarded: a\r\n"];
        let forwarded =
            ["x-forwarded-for: 1.1.1.1\r\n", "Forwarded: for=_a\r\n", "X-FORWARDED-FOR:\r\n"];
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            for (lines, is_ignored) in [(&lines[..], false), (&forwarded[..], true)] {
                for line in lines {
                    let stranger = client(header, "203.0.113.9", line);
                    assert_eq!(stranger.is_ignored, is_ignored, "{line}");
                    assert!(!client(header, "127.0.0.1", line).is_ignored, "{line}");
                    // Where no proxy is named, everybody is a stranger.
                    let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n");
                    let (head, _) = parse_head(text.as_bytes(), 1 << 16).unwrap().unwrap();
                    let nobody = Proxies::new(&[], header);
                    let found = nobody.client(([127, 0, 0, 1], 9).into(), &head);
                    assert_eq!(found.is_ignored, is_ignored, "{line}");
                }
            }
        }
    }

    #[test]
    fn forwarded_of_rfc_7239() {
        let header = ForwardedHeader::Forwarded;
        for (said, address, secure) in [
            ("for=198.51.100.7", "198.51.100.7:0", None),
            ("For=\"198.51.100.7:47011\";proto=HTTPS", "198.51.100.7:47011", Some(true)),
            (
                "for=\"[2001:db8:cafe::17]:4711\";proto=http",
                "[2001:db8:cafe::17]:4711",
                Some(false),
            ),
            ("for=1.1.1.1;proto=https, for=198.51.100.7;proto=http", "198.51.100.7:0", Some(false)),
            ("for=198.51.100.7;by=\"a,b\";proto=https, for=10.0.0.1", "198.51.100.7:0", Some(true)),
        ] {
            let found = client(header, "127.0.0.1", &format!("Forwarded: {said}\r\n"));
            let want = (address.to_owned(), secure, false);
            assert_eq!((found.address.to_string(), found.secure, found.is_garbled), want, "{said}");
        }
        let hidden = client(header, "127.0.0.1", "Forwarded: for=1.1.1.1, for=_secret\r\n");
        assert_eq!((hidden.address.to_string(), hidden.is_garbled), ("127.0.0.1:9".into(), true));
        let other = client(header, "127.0.0.1", "X-Forwarded-For: 1.1.1.1\r\n");
        assert_eq!(other.address.to_string(), "127.0.0.1:9");
    }

    #[test]
    fn the_scheme_is_believed_of_a_proxy_only() {
        let header = ForwardedHeader::XForwardedFor;
        let secure = |peer, lines| client(header, peer, lines).secure;
        assert_eq!(secure("127.0.0.1", "X-Forwarded-Proto: https\r\n"), Some(true));
        assert_eq!(secure("127.0.0.1", "X-Forwarded-Proto: http, wss\r\n"), Some(true));
        assert_eq!(secure("127.0.0.1", "X-Forwarded-Proto: http\r\n"), Some(false));
        assert_eq!(secure("127.0.0.1", "X-Forwarded-Proto: gopher\r\n"), None);
        assert_eq!(secure("203.0.113.9", "X-Forwarded-Proto: https\r\n"), None);
    }

    #[test]
    fn noise_never_panics_and_a_stranger_is_never_replaced() {
        let words =
            ["for=", "1.1.1.1", ",", ";", "\"", "[", "]", "::1", ":80", "\\", " ", "10.0.0.1"];
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed, 0xF0D);
            let said: String = (0..8).map(|_| words[rng.below(words.len())]).collect();
            for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                let lines = format!("X-Forwarded-For: {said}\r\nForwarded: {said}\r\n");
                let found = client(header, "127.0.0.1", &lines);
                assert!(!found.address.ip().is_unspecified(), "{said}");
                let stranger = client(header, "203.0.113.9", &lines);
                assert_eq!(stranger.address.to_string(), "203.0.113.9:9", "{said}");
            }
        }
    }
}

//! The PROXY protocol: what a proxy says of a connection before its first byte.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before those whose number the header says.
const FIXED_BYTES: usize = 16;
/// Most bytes of a header. Balancers send some hundred; 65,535 would be legal.
pub const PROXY_HEADER_BYTES_MAX: usize = 4_096;

/// A header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client, if it names one: a health check of the proxy itself does not.
    pub client: Option<SocketAddr>,
    /// Whether the client came to the proxy over TLS.
    pub secure: bool,
    /// Bytes it took.
    pub len: usize,
}

/// What stands there is no header of version 2, or a longer one than is taken. Version 1 is text
/// and is not taken either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader;

/// Reads a header from the front of `bytes`; `Ok(None)` while more are needed.
///
/// Rule: the PROXY protocol, section 2.2. A checksum in it is not verified: what a network loses,
/// TCP has found.
///
/// # Errors
/// [`NoProxyHeader`], as soon as the bytes show it.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(NoProxyHeader);
    }
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else { return Ok(None) };
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(NoProxyHeader),
    };
    let after = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let len = FIXED_BYTES + after;
    if len > PROXY_HEADER_BYTES_MAX {
        return Err(NoProxyHeader);
    }
    let Some(body) = rest.get(..after) else { return Ok(None) };
    let (client, extras) = match fixed[13] {
        0x11 => {
            let (addresses, extras) = body.split_first_chunk::<12>().ok_or(NoProxyHeader)?;
            let [a, b, c, d, .., _, _] = *addresses;
            let port = u16::from_be_bytes([addresses[8], addresses[9]]);
            (Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)), extras)
        }
        0x21 => {
            let (addresses, extras) = body.split_first_chunk::<36>().ok_or(NoProxyHeader)?;
            let (ip, _) = addresses.split_first_chunk::<16>().ok_or(NoProxyHeader)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            let ip = IpAddr::from(Ipv6Addr::from(*ip)).to_canonical();
            (Some(SocketAddr::new(ip, port)), extras)
        }
        // Unspecified, datagrams, Unix sockets: whoever it is has no address for us.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => (None, [].as_slice()),
        _ => return Err(NoProxyHeader),
    };
    let client = client.filter(|_| !is_local);
    let secure = client.is_some() && says_tls(extras)?;
    Ok(Some(ProxyHeader { client, secure, len }))
}

/// Whether the extra fields say that the client came over TLS.
///
/// Rule: section 2.2.6, `PP2_TYPE_SSL`, whose first bit is `PP2_CLIENT_SSL`.
fn says_tls(mut extras: &[u8]) -> Result<bool, NoProxyHeader> {
    const SSL: u8 = 0x20;
    let mut secure = false;
    while !extras.is_empty() {
        let (head, rest) = extras.split_first_chunk::<3>().ok_or(NoProxyHeader)?;
        let len = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, after) = rest.split_at_checked(len).ok_or(NoProxyHeader)?;
        secure |= head[0] == SSL && value.first().is_some_and(|flags| flags & 1 != 0);
        extras = after;
    }
    Ok(secure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &len, body].concat()
    }

    const V4: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    fn v6() -> Vec<u8> {
        let client: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [client.octets().as_slice(), &[0; 16], &[0x30, 0x39, 0x01, 0xbb]].concat()
    }

    #[test]
    fn who_the_client_is() {
        let table: &[(u8, u8, Vec<u8>, Option<&str>, bool)] = &[
            (0x21, 0x11, V4.to_vec(), Some("198.51.100.7:12345"), false),
            (0x21, 0x21, v6(), Some("[2001:db8::7]:12345"), false),
            (0x20, 0x11, V4.to_vec(), None, false),
            (0x20, 0x00, vec![], None, false),
            (0x21, 0x31, vec![0; 216], None, false),
            (
                0x21,
                0x11,
                [&V4[..], &[0x04, 0, 2, 1, 2]].concat(),
                Some("198.51.100.7:12345"),
                false,
            ),
            (
                0x21,
                0x11,
                [&V4[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat(),
                Some("198.51.100.7:12345"),
                true,
            ),
            (
                0x21,
                0x11,
                [&V4[..], &[0x20, 0, 5, 0, 0, 0, 0, 0]].concat(),
                Some("198.51.100.7:12345"),
                false,
            ),
        ];
        for (command, family, body, client, secure) in table {
            let bytes = header(*command, *family, body);
            let want = ProxyHeader {
                client: client.map(|client| client.parse().unwrap()),
                secure: *secure,
                len: bytes.len(),
            };
            let followed = [&bytes[..], b"GET /"].concat();
            assert_eq!(parse_proxy_header(&followed), Ok(Some(want)));
            for cut in 0..bytes.len() {
                assert_eq!(parse_proxy_header(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused_at_once() {
        let short = header(0x21, 0x11, &V4[..11]);
        let long = header(0x21, 0x11, &[0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES + 1]);
        let torn = header(0x21, 0x11, &[&V4[..], &[0x04, 0, 9, 1]].concat());
        for bytes in [
            b"PROXY TCP4 198.51.100.7 10.0.0.1 12345 443\r\n".as_slice(),
            b"GET / HTTP/1.1\r\n",
            b"\r\n\r\n\0\r\nQUIX",
            b"\x16\x03\x01",
            &header(0x11, 0x11, &V4),
            &header(0x22, 0x11, &V4),
            &header(0x21, 0x13, &V4),
            &header(0x21, 0x41, &V4),
            &short,
            &long[..FIXED_BYTES],
            &torn,
        ] {
            assert_eq!(parse_proxy_header(bytes), Err(NoProxyHeader), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn noise_never_panics_and_takes_no_more_than_there_is() {
        let whole = header(0x21, 0x21, &[&v6()[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat());
        let mut taken = 0;
        for seed in 0..50_000 {
            let mut rng = Rng::new(seed, 0x9097);
            let mut bytes = whole.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.bytes(1)[0];
            }
            bytes.truncate(rng.below(bytes.len() + 1));
            if let Ok(Some(read)) = parse_proxy_header(&bytes) {
                taken += 1;
                assert!(read.len <= bytes.len(), "seed {seed}");
            }
        }
        assert!(taken > 100, "{taken}");
    }
}

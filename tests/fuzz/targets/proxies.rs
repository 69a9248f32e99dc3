//! What proxies in front say of clients.

use std::net::SocketAddr;

use corewire::http::{
    ForwardedHeader, PROXY_HEADER_BYTES_MAX, Proxies, parse_head, parse_proxy_header,
};

use super::choice;

/// A PROXY header: never longer than it may be, the same with more behind it, and in no piece of
/// it another verdict than "more is needed".
pub(super) fn header(bytes: &[u8]) {
    let whole = parse_proxy_header(bytes);
    let Ok(Some(header)) = whole else { return };
    assert!(header.len <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
    assert_eq!(parse_proxy_header(&bytes[..header.len]), whole);
    for to in 0..header.len {
        assert_eq!(parse_proxy_header(&bytes[..to]), Ok(None), "at {to}");
    }
}

/// What proxies say in headers: a stranger is believed nothing, whatever it says, and the address
/// of a believed one is never that of a hop before one that is not.
pub(super) fn forwarded(bytes: &[u8]) {
    let (which, said) = choice(bytes);
    let (header, name) = match which % 2 {
        0 => (ForwardedHeader::XForwardedFor, "X-Forwarded-For"),
        _ => (ForwardedHeader::Forwarded, "Forwarded"),
    };
    let said: Vec<u8> =
        said.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let stranger = if which % 2 == 0 { "203.0.113.9" } else { "for=203.0.113.9" };
    let text = [
        b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(),
        name.as_bytes(),
        b": ",
        &said,
        b"\r\n",
        name.as_bytes(),
        b": ",
        stranger.as_bytes(),
        b"\r\n\r\n",
    ]
    .concat();
    let Ok(Some((head, _))) = parse_head(&text, 16 << 10) else { return };
    let proxies = Proxies::new(&["10.0.0.0/8".to_owned()], header);
    let peer = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let outside = proxies.client(peer("192.0.2.1:5"), &head);
    assert_eq!((outside.address, outside.secure), (peer("192.0.2.1:5"), None));
    // The last hop is a stranger, so nothing that stands before it is ever taken.
    let inside = proxies.client(peer("10.1.2.3:5"), &head);
    assert_eq!(inside.address.ip(), peer("203.0.113.9:0").ip());
}

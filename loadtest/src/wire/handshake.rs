//! From a fresh socket to a connected namespace: the upgrade, the open packet, CONNECT.

/// The key of RFC 6455's example. Keys keep caches apart; there are none on the way.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server makes of it.
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not begun, or gone.
    Absent,
    /// The request to upgrade is out, or waits for the socket to connect.
    Upgrading,
    /// The WebSocket stands and is to take over from polling.
    Probing,
    /// The transport stands; the open packet is awaited.
    Opening,
    /// CONNECT is out.
    Joining,
    /// The namespace is connected.
    Up,
}

/// The request that makes a WebSocket of a connection.
pub(super) fn request(host: &str, query: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: {host}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// Reads the answer to [`request`]; `None` if it is not whole, else its length.
///
/// # Errors
/// The server refused; its first line.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..end];
    let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let accepted = memchr::memmem::find(head, ACCEPT).is_some();
    if first.split(|byte| *byte == b' ').nth(1) != Some(b"101") || !accepted {
        return Err(format!("the upgrade was answered {:?}", String::from_utf8_lossy(first)));
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_taken_only_with_its_key() {
        let good = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
            sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x00";
        assert_eq!(answer(good), Ok(Some(good.len() - 2)));
        assert_eq!(answer(&good[..40]), Ok(None));
        let refused = b"HTTP/1.1 400 Bad Request\r\n\r\n{}";
        assert!(answer(refused).unwrap_err().contains("400"));
        assert!(answer(b"HTTP/1.1 101 Fine\r\n\r\n").is_err());
    }
}

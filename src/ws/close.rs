//! Close frames: which codes may travel, what their payload must look like.

use tungstenite::protocol::frame::coding::CloseCode;

use super::frame::{Kind, write_header};
use super::message::WsError;

/// Whether a peer may write `code` into a close frame.
///
/// Rule: RFC 6455 section 7.4 (1004, 1005, 1006 and 1015 never travel; 1016 to 2999 wait for
/// later revisions; below 1000 and from 5000 on nothing is defined). 1014 is not in the RFC but
/// in the IANA registry it opened, where 1012 and 1013 are too.
#[must_use]
pub fn close_code_is_legal(code: u16) -> bool {
    code == 1014 || (code != 1004 && CloseCode::from(code).is_allowed())
}

/// A close frame of the server; without a code its payload is empty, and the client sees 1005.
#[must_use]
pub fn close_frame(code: Option<u16>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    match code {
        None => write_header(&mut out, Kind::Close, 0),
        Some(code) => {
            write_header(&mut out, Kind::Close, 2);
            out.extend_from_slice(&code.to_be_bytes());
        }
    }
    out
}

/// Reads the payload of a client's close frame.
///
/// Shape: nothing, or two bytes of code and a reason in UTF-8 (RFC 6455 section 5.5.1).
pub(super) fn parse_close(payload: &[u8]) -> Result<Option<u16>, WsError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(WsError::CloseTooShort) };
    };
    let code = u16::from_be_bytes(*code);
    if !close_code_is_legal(code) {
        return Err(WsError::CloseCode);
    }
    match simdutf8::basic::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(WsError::Utf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rfc_6455_section_7_4() {
        let legal =
            |range: std::ops::RangeInclusive<u16>| range.filter(|c| close_code_is_legal(*c));
        assert_eq!(legal(0..=999).count(), 0);
        let low: Vec<u16> = legal(1000..=2999).collect();
        let want = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        assert_eq!(low, want);
        assert_eq!(legal(3000..=4999).count(), 2000);
        assert_eq!(legal(5000..=u16::MAX).count(), 0);
    }

    #[test]
    fn payloads_of_rfc_6455_section_5_5_1() {
        assert_eq!(parse_close(b""), Ok(None));
        assert_eq!(parse_close(&[3]), Err(WsError::CloseTooShort));
        assert_eq!(parse_close(&[3, 232]), Ok(Some(1000)));
        assert_eq!(parse_close(b"\x03\xe8bye \xc3\xa4"), Ok(Some(1000)));
        assert_eq!(parse_close(b"\x03\xe8\xc3"), Err(WsError::Utf8));
        assert_eq!(parse_close(&[3, 237]), Err(WsError::CloseCode));
    }

    #[test]
    fn what_we_write() {
        assert_eq!(close_frame(None), [0x88, 0]);
        assert_eq!(close_frame(Some(1009)), [0x88, 2, 3, 241]);
    }
}

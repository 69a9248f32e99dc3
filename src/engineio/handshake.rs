//! The open packet.

/// Writes the open packet of a new session, its digit included.
///
/// Rule: engine.io-protocol v4, "Handshake".
/// Shape: `0{"sid":"…","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,
/// "maxPayload":1000000}`, in this order, as Node writes it.
#[must_use]
pub fn open_packet(
    sid: &str,
    upgrades: bool,
    interval_ms: u64,
    timeout_ms: u64,
    payload_bytes_max: usize,
) -> String {
    let upgrades = if upgrades { "\"websocket\"" } else { "" };
    format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":{interval_ms},\
         \"pingTimeout\":{timeout_ms},\"maxPayload\":{payload_bytes_max}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_packet_is_the_golden_one() {
        assert_eq!(
            open_packet("iBJ_SCYZMF6TpNvQAABl", true, 25_000, 20_000, 1_000),
            "0{\"sid\":\"iBJ_SCYZMF6TpNvQAABl\",\"upgrades\":[\"websocket\"],\
             \"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000}"
        );
        assert!(open_packet("x", false, 1, 2, 3).contains("\"upgrades\":[],"));
    }
}

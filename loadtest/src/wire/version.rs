//! Which Corewire it is, as its admin listener says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::rest::Rest;

/// How long it may take to connect, and between two pieces of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than all metrics of a server with 256 workers.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// `corewire 0.1.0`; nothing if nobody answers there, or something else, or it wants another key.
#[must_use]
pub fn ask(rest: &Rest) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&rest.admin.address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let key = rest.key.as_ref().map(|key| format!("Authorization: Bearer {key}\r\n"));
    // The older version: then the answer is the body as it is, and ends with the connection.
    let request = format!(
        "GET /metrics HTTP/1.0\r\nHost: {}\r\n{}\r\n",
        rest.admin.host,
        key.unwrap_or_default(),
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    version(&String::from_utf8_lossy(&answer)).map(|version| format!("corewire {version}"))
}

/// The label of `corewire_build_info`.
fn version(metrics: &str) -> Option<&str> {
    let line = metrics.lines().find_map(|line| line.strip_prefix("corewire_build_info{"))?;
    let (_, rest) = line.split_once("version=\"")?;
    rest.split_once('"').map(|(version, _)| version).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_label_among_metrics() {
        let metrics = "# HELP corewire_build_info The running version.\n\
                       # TYPE corewire_build_info gauge\n\
                       corewire_build_info{version=\"0.1.0\"} 1\n";
        assert_eq!(version(metrics), Some("0.1.0"));
        assert_eq!(version("node_build_info{version=\"9\"} 1\n"), None);
        assert_eq!(version("corewire_build_info{version=\"\"} 1\n"), None);
        assert_eq!(version(""), None);
    }
}

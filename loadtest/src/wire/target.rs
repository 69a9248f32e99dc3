//! Where a server listens.

use std::net::{SocketAddr, ToSocketAddrs};

/// A server's address, as given and as resolved.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// What goes into the `Host` header.
    pub host: String,
    /// The address itself.
    pub address: SocketAddr,
}

impl Target {
    /// Reads `http://HOST:PORT`; scheme and path may be missing.
    ///
    /// # Errors
    /// One line: another scheme, no port, or a name that does not resolve.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("http" | "ws", rest)) => rest,
            Some((scheme, _)) => {
                return Err(format!("{url}: {scheme} is not spoken here; use http://HOST:PORT"));
            }
            None => url,
        };
        let host = rest.split('/').next().unwrap_or(rest);
        let name = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let mut addresses =
            name.to_socket_addrs().map_err(|why| format!("{url}: {why}; use http://HOST:PORT"))?;
        let address = addresses.next().ok_or_else(|| format!("{url}: the name has no address"))?;
        Ok(Self { url: url.to_owned(), host: host.to_owned(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for url in ["http://127.0.0.1:3001", "127.0.0.1:3001", "ws://127.0.0.1:3001/socket.io/"] {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.host, "127.0.0.1:3001");
            assert_eq!(target.address.port(), 3_001);
        }
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().address.port(), 80);
    }

    #[test]
    fn another_scheme_is_refused_with_what_to_do() {
        assert!(Target::parse("https://127.0.0.1:1").unwrap_err().contains("use http://"));
    }
}

//! The two framings that HTTP has for deflate.

use flate2::Crc;

use super::Deflater;

/// RFC 1952 section 2.3: deflate, no flags, no time, nothing said of the effort or the system.
const GZIP_HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
/// RFC 1950 section 2.2: deflate with a window of 32 KiB, fastest algorithm.
const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];

impl Deflater {
    /// `data` as RFC 1952 has it, if that is shorter.
    ///
    /// Cost: one pass over the data, another over it for its checksum, one allocation.
    pub fn gzip(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = framed(&GZIP_HEAD, self.stream(data)?);
        let mut crc = Crc::new();
        crc.update(data);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        (out.len() < data.len()).then_some(out)
    }

    /// `data` as RFC 1950 has it, which HTTP calls `deflate` (RFC 9110 section 8.4.1.2).
    ///
    /// Cost: as [`Self::gzip`].
    pub fn zlib(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = framed(&ZLIB_HEAD, self.stream(data)?);
        out.extend_from_slice(&adler32(data).to_be_bytes());
        (out.len() < data.len()).then_some(out)
    }
}

fn framed(head: &[u8], stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + stream.len() + 8);
    out.extend_from_slice(head);
    out.extend_from_slice(stream);
    out
}

/// RFC 1950 section 8.2. The sums of 5,552 bytes are the last that cannot overflow.
fn adler32(data: &[u8]) -> u32 {
    const BASE: u32 = 65_521;
    let (mut a, mut b) = (1_u32, 0_u32);
    for chunk in data.chunks(5_552) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % BASE, b % BASE);
    }
    (b << 16) | a
}

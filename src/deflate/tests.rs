//! Against the examples of RFC 7692, against cut and broken bytes, against bombs, against noise.

use std::io::Read as _;

use super::*;
use crate::base::Rng;

const WIDE: Bounds = Bounds { bytes_max: 4 << 20, ratio_max: 2_000 };

fn inflate(data: &[u8]) -> Result<Vec<u8>, InflateError> {
    Inflater::default().message(data, WIDE)
}

/// Text as events look: it becomes shorter, but not by much.
fn json(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < bytes {
        let (id, name) = (rng.draw() >> 40, rng.below(5_000));
        text.push_str(&format!("{{\"id\":{id},\"name\":\"user{name}\",\"ok\":true}},"));
    }
    text.truncate(bytes);
    text.into_bytes()
}

#[test]
fn examples_of_rfc_7692_section_7_2_3() {
    let hello = b"Hello".to_vec();
    for message in [
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..],
        // Section 7.2.3.3: a block without compression.
        &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
        // Section 7.2.3.4: a block that says it is the last, and an empty one behind it.
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
        // The same without that one, which some libraries send.
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
        // Section 7.2.3.5: two blocks.
        &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
    ] {
        assert_eq!(inflate(message), Ok(hello.clone()), "{message:02x?}");
    }
    // Section 7.2.3.6: the empty message, as it is to be and as some send it.
    assert_eq!((inflate(&[0]), inflate(&[])), (Ok(Vec::new()), Ok(Vec::new())));
    // Section 7.2.3.2: what looks back at the message before has nothing to look at.
    assert_eq!(inflate(&[0xF2, 0x00, 0x11, 0x00, 0x00]), Err(InflateError::Broken));
}

#[test]
fn what_is_compressed_comes_back_and_messages_stand_alone() {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
    let mut rng = Rng::new(1, 0xDEF);
    for size in [64, 1_000, 4_096, 65_535, 65_537, 300_000, PACK_BYTES_MAX] {
        for data in [json(&mut rng, size), vec![b'x'; size]] {
            let packed = deflater.message(&data).expect("it becomes shorter").to_vec();
            assert!(packed.len() < data.len());
            assert_eq!(inflater.message(&packed, WIDE).as_ref(), Ok(&data), "{size}");
            assert_eq!(inflate(&packed), Ok(data), "{size}, by an inflater that saw nothing else");
            deflater.trim();
            assert!(deflater.kept_bytes() <= KEPT_BYTES);
        }
    }
}

#[test]
fn what_does_not_become_shorter_stays_as_it_is() {
    let mut deflater = Deflater::default();
    let mut rng = Rng::new(2, 0xDEF);
    for size in [0, 1, 10, 5_000, 100_000] {
        assert_eq!(deflater.message(&rng.bytes(size)), None, "{size}");
    }
    assert_eq!(deflater.message(&vec![0; PACK_BYTES_MAX + 1]), None, "too long to try");
    let data = json(&mut rng, 2_000);
    assert!(deflater.message(&data).is_some(), "what was given up leaves nothing behind");
}

#[test]
fn a_message_that_was_cut_is_no_message() {
    let mut rng = Rng::new(3, 0xDEF);
    let data = json(&mut rng, 3_000);
    let packed = Deflater::default().message(&data).expect("it becomes shorter").to_vec();
    for cut in 1..packed.len() - 1 {
        let part = inflate(&packed[..cut]);
        assert!(part.is_err(), "cut at {cut} it gives {} bytes", part.unwrap_or_default().len());
    }
}

/// So many zero bytes, as few bytes as deflate can make of them.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut raw = flate2::Compress::new(flate2::Compression::best(), false);
    let mut packed = Vec::with_capacity(bytes / 500 + 100);
    raw.compress_vec(&vec![0; bytes], &mut packed, flate2::FlushCompress::Sync).expect("room");
    packed.truncate(packed.len() - FLUSH_TAIL.len());
    packed
}

#[test]
fn bombs_end_at_their_bound_and_take_no_more_memory() {
    let packed = bomb(50 << 20);
    assert!(packed.len() < 60_000, "a thousand to one");
    let mut inflater = Inflater::default();
    for (bounds, error) in [
        (Bounds { bytes_max: 1 << 20, ratio_max: 2_000 }, InflateError::TooBig),
        (Bounds { bytes_max: 100 << 20, ratio_max: 100 }, InflateError::Ratio),
        (Bounds { bytes_max: 10, ratio_max: 1 }, InflateError::TooBig),
    ] {
        assert_eq!(inflater.message(&packed, bounds), Err(error));
        assert!(inflater.kept_bytes() <= KEPT_BYTES, "{} bytes stay", inflater.kept_bytes());
    }
    // To the byte: what is just as long as it may be is taken.
    let just = bomb(1_000_000);
    let bounds = |bytes_max| Bounds { bytes_max, ratio_max: 2_000 };
    assert_eq!(inflater.message(&just, bounds(1_000_000)).map(|m| m.len()), Ok(1_000_000));
    assert_eq!(inflater.message(&just, bounds(999_999)), Err(InflateError::TooBig));
    // What stays short raises no suspicion, whatever its ratio.
    let short = bomb(Bounds::UNSUSPECTED_BYTES);
    let strict = Bounds { bytes_max: 1 << 20, ratio_max: 1 };
    assert!(inflater.message(&short, strict).is_ok());
    assert_eq!(
        inflater.message(&bomb(Bounds::UNSUSPECTED_BYTES + 1), strict),
        Err(InflateError::Ratio)
    );
}

#[test]
fn streams_without_end_end() {
    // An empty last block of ten bits, again and again: each costs a reset.
    let many = [3, 0].repeat(100_000);
    assert_eq!(inflate(&many), Err(InflateError::Broken));
    assert_eq!(inflate(&[3, 0].repeat(3)), Ok(Vec::new()));
}

#[test]
fn broken_bytes_give_an_error_or_a_message_within_its_bounds() {
    let (mut inflater, mut deflater) = (Inflater::default(), Deflater::default());
    let bounds = Bounds { bytes_max: 20_000, ratio_max: 50 };
    let (mut broken, mut whole) = (0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed, 0xBAD_DEF);
        let mut data = if rng.below(3) == 0 {
            let len = rng.below(80);
            rng.bytes(len)
        } else {
            let len = 30 + rng.below(3_000);
            let data = json(&mut rng, len);
            let Some(packed) = deflater.message(&data) else { continue };
            packed.to_vec()
        };
        for _ in 0..rng.below(4) {
            if !data.is_empty() {
                let at = rng.below(data.len());
                data[at] ^= 1 << rng.below(8);
            }
        }
        match inflater.message(&data, bounds) {
            Ok(message) => {
                whole += 1;
                assert!(message.len() <= bounds.bytes_max);
            }
            Err(_) => broken += 1,
        }
    }
    assert!(broken > 5_000 && whole > 3_000, "{broken} broken, {whole} whole");
    let packed = deflater.message(&[b'a'; 500]).expect("it becomes shorter").to_vec();
    assert_eq!(inflater.message(&packed, bounds), Ok(vec![b'a'; 500]), "it is none the worse");
}

#[test]
fn bodies_are_read_by_whoever_reads_gzip_and_zlib() {
    let mut deflater = Deflater::default();
    let mut rng = Rng::new(4, 0xDEF);
    for size in [200, 5_553, 70_000, PACK_BYTES_MAX] {
        let data = json(&mut rng, size);
        let gzip = deflater.gzip(&data).expect("it becomes shorter");
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, data);
        let zlib = deflater.zlib(&data).expect("it becomes shorter");
        back.clear();
        flate2::read::ZlibDecoder::new(zlib.as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, data);
    }
    assert_eq!(deflater.gzip(&rng.bytes(1_000)), None);
    assert_eq!(deflater.gzip(b""), None);
}

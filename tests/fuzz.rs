//! What fuzzing keeps, replayed: every file of `tests/fuzz/corpus`, and a short walk around
//! them. The long walk is `.ci/long fuzz`.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use corewire::base::Rng;

#[path = "fuzz/targets/mod.rs"]
mod targets;

use targets::TARGETS;

/// All corpora together: they are read by people and carried by every clone.
const CORPUS_BYTES_MAX: u64 = 300 << 10;
/// Inputs made out of kept ones, a target.
const WALKS: usize = 3_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// The kept inputs of a target, in the order of their names.
fn kept(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.display().to_string(), fs::read(&path).expect("readable"));
    files.into_iter().map(read).collect()
}

/// One input; a failure names it.
fn attempt(name: &str, from: &str, bytes: &[u8], run: fn(&[u8])) {
    let outcome = catch_unwind(|| run(bytes));
    assert!(outcome.is_ok(), "{name}, {from}: {:?}", String::from_utf8_lossy(bytes));
}

#[test]
fn what_is_kept_holds() {
    for target in TARGETS {
        let kept = kept(target.name);
        assert!(!kept.is_empty(), "nothing is kept of {}", target.name);
        for (path, bytes) in kept {
            attempt(target.name, &path, &bytes, target.run);
        }
    }
}

/// Without coverage to lead it: bytes changed, taken out, doubled, spliced with another input.
#[test]
fn a_short_walk_around_what_is_kept_holds() {
    for (at, target) in TARGETS.iter().enumerate() {
        let inputs: Vec<Vec<u8>> = kept(target.name).into_iter().map(|(_, bytes)| bytes).collect();
        let mut rng = Rng::new(at as u64, 0xF0_5EED);
        for walk in 0..WALKS {
            let bytes = walked(&inputs, &mut rng);
            attempt(target.name, &format!("walk {walk}"), &bytes, target.run);
        }
    }
}

fn walked(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = inputs[rng.below(inputs.len())].clone();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        match rng.below(5) {
            0 => bytes.insert(at, rng.draw().to_le_bytes()[0]),
            1 => bytes.truncate(at),
            2 => {
                let other = &inputs[rng.below(inputs.len())];
                let from = rng.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ => {}
        }
    }
    bytes.truncate(4_096);
    bytes
}

#[test]
fn corpora_are_small_and_belong_to_a_target() {
    let mut total = 0;
    for folder in fs::read_dir(corpus()).expect("it is there") {
        let folder = folder.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(targets::find(&name).is_some(), "{name} is the corpus of no target");
        for file in fs::read_dir(&folder).expect("a folder") {
            total += file.expect("a file").metadata().expect("its size").len();
        }
    }
    assert!(total <= CORPUS_BYTES_MAX, "{total} bytes of corpora");
}

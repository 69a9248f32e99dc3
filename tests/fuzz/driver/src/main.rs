//! libFuzzer around one target: `FUZZ_TARGET` names it. `.ci/long fuzz` builds and runs this.
#![no_main]

#[path = "../../targets/mod.rs"]
mod targets;

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        targets::find(&name).expect("there is no such target").run
    });
    run(bytes);
});

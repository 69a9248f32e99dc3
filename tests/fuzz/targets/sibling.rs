//! Messages between two processes.

use corewire::shard::SiblingMsg;

/// What reads can be packed, and reads the same then.
pub(super) fn message(bytes: &[u8]) {
    let Some(message) = SiblingMsg::unpack(bytes) else { return };
    let mut packed = Vec::new();
    assert!(message.pack(&mut packed), "what was read can be packed: {message:?}");
    let again = SiblingMsg::unpack(&packed).expect("what was packed reads");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
}

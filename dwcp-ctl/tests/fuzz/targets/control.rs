//! Any bytes as a control message: what is taken says itself again.

use dwcp_core::wire::{Control, MAX_CONTROL_BYTES};

pub(crate) fn target(data: &[u8]) {
    let Ok(control) = Control::decode(data) else { return };
    assert!(data.len() <= MAX_CONTROL_BYTES, "{} bytes", data.len());
    let mut again = Vec::new();
    control.encode(&mut again);
    assert_eq!(Control::decode(&again).as_ref(), Ok(&control));
}

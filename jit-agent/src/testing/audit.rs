//! Rows of an audit log.

use jiff::Timestamp;
use serde_json::json;

use super::people::ALICE;
use crate::store::Store;

/// Adds to an audit log a grant, the grant's revocation, and `more` events whose texts look like spreadsheet formulas.
pub fn fill(store: &mut Store, more: usize) {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let granted = json!({
        "grant": 17, "request": 9, "number": 22, "protocol": "tcp", "source": "192.0.2.10/32",
        "end": "2026-11-22T16:30:12Z", "uid": ALICE, "requestor": "alice",
    });
    store.record_event(time("2026-11-22T16:00:00Z"), "granted", &granted).unwrap();
    let revoked = json!({
        "grant": 17, "number": 22, "protocol": "tcp", "source": "192.0.2.10/32", "requestor": "alice",
        "by": { "uid": 0, "name": "root", "login_uid": 1001 }, "reason": "said \"no\",\nand meant it\u{1b}",
    });
    store.record_event(time("2026-11-22T16:00:10Z"), "revoked", &revoked).unwrap();
    for index in 0..more {
        let detail = json!({ "requestor": "=cmd()", "justification": "@x", "reason": "-1", "count": index });
        store.record_event(time("2026-11-22T16:00:20Z"), "denied", &detail).unwrap();
    }
}

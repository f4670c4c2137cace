//! Cutting the connection while a bench runs.

use std::time::Duration;

use dwcp_core::Session;

/// How often to look whether the session has a path again.
const LOOK: Duration = Duration::from_millis(5);

/// Cuts the session's connection `count` times, evenly over `duration`, each time only when it has one.
/// Returns how many cuts were made; never more than `count`.
///
/// # Cancel safety
/// Cancel-safe; the count is lost.
pub(super) async fn cut_evenly(session: &Session, count: u32, duration: Duration) -> u32 {
    let pause = duration / (count + 1);
    let mut made = 0;
    for _ in 0..count {
        tokio::time::sleep(pause).await;
        while session.stats().active.is_none() {
            if session.is_over() {
                return made;
            }
            tokio::time::sleep(LOOK).await;
        }
        session.cut(None);
        made += 1;
    }
    made
}

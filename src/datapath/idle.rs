//! What an lcore does that finds nothing to do.

use crate::cli::Idle;

#[inline]
pub(super) fn rest(idle: Idle) {
    match idle {
        Idle::Spin => {}
        Idle::Pause => std::hint::spin_loop(),
        Idle::Yield => std::thread::yield_now(),
    }
}

//! Which lcores want attention, so that others need not read every board.
//!
//! An lcore keeps itself in a set as long as its board shows what the set is for,
//! and a while longer: a member is an lcore whose board is worth a look. It enters
//! before it shows, and only it leaves, so that none is overlooked. What happens
//! often does not write often, because members leave late.
//!
//! * [`Signs`] is an lcore's own membership.
//! * [`Watch`] is what an idle lcore looks at.
//! * [`Adoption`] is what a busy one does.
//!
//! An lcore that does not run can enter nothing. Only idle lcores look for those,
//! at a few beats at a time.

mod adoption;
mod set;
mod signs;
mod watch;

pub use adoption::Adoption;
pub(crate) use set::ones;
pub use set::{AtomicSet, SET_MAX};
pub use signs::Signs;
pub use watch::{BEATS_PER_LOOK, BOARDS_PER_LOOK, Watch};

/// The sets of all lcores, by their places among the boards. Each is on lines of
/// its own.
#[derive(Debug)]
pub struct Attention {
    /// In a long stage.
    pub away: AtomicSet,
    /// With packets in a run queue.
    pub queued: AtomicSet,
    /// With receive queues that fill faster than they are served.
    pub pressed: AtomicSet,
}

impl Attention {
    /// For so many lcores, none of which wants any.
    ///
    /// # Panics
    /// When there are more than [`SET_MAX`].
    pub fn new(lcores: usize) -> Self {
        let [away, queued, pressed] = std::array::from_fn(|_| AtomicSet::new(lcores));
        Self { away, queued, pressed }
    }
}

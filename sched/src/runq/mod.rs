//! The per-lcore run queue: what waits for its lcore, where idle lcores can
//! take it. Generic over the item; knows no packets.
//!
//! * `queue`: the owner's end and the thieves' ends
//! * `ring`: one ring with an owner and any number of thieves; `slots` is its
//!   memory, `word` what fits into a slot
//! * `double`, `append`: the two ways of growing
//!
//! **Order.** Owner and thieves both take the oldest item. A deque whose owner
//! takes the newest (Chase and Lev) suits tasks that spawn tasks, where the
//! newest is warm in the cache and the oldest is the biggest. Packets are
//! peers, and the oldest is the one that is latest already: taking it first
//! keeps the longest wait short, an item is overtaken only by what others had
//! taken before it and finish earlier, and none starves. It also spares the
//! owner the fence that taking from the thieves' other end would need for the
//! last item: all takers meet in one place, and a burst costs one
//! compare-and-swap.

mod append;
mod double;
mod growth;
mod queue;
mod ring;
mod slots;
#[cfg(all(test, not(loom)))]
mod tests;
mod word;

pub use crate::sync::Line;
pub use append::Append;
pub use double::Double;
pub use growth::{Growth, Stolen};
pub use queue::{RunQueue, Stealer};
pub use word::{Batch, Word};

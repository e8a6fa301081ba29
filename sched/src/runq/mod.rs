//! The per-lcore run queue: one owner pushes and pops, any number of thieves
//! steal. Generic over the item, which must be one pointer.
//!
//! * `queue`: the owner's end and the thieves' ends
//! * `ring`: one ring with an owner and thieves; `slots` is its memory, `word` is
//!   what fits into a slot
//! * `growth`: what a way of growing does; `double` and `append` are the two
//!
//! **Order.** The owner and the thieves both get the oldest item. In a deque whose
//! owner gets the newest (Chase and Lev, SPAA'05), which suits tasks that spawn
//! tasks, the newest item is warm in the cache and the oldest is the biggest.
//! Packets are peers, and the oldest one is the latest already. Oldest first keeps
//! the longest wait short, and no item starves. All claims meet at one index, so
//! the owner needs no fence against thieves for the last item, and a burst costs
//! one compare-and-swap.
//!
//! **Progress.** Pushes are wait-free while no growth is due. A pop retries only
//! when a thief's claim succeeded. A steal never retries: it reports
//! [`Stolen::Contended`].
//!
//! ```
//! use micropools::runq::{RunQueue, Stolen};
//!
//! // Room for 4 items before it grows, and for 1,000 at most.
//! let mut queue = RunQueue::<Box<u32>>::new(4, 1_000);
//! let mut thief = queue.stealer();
//! let mut burst: Vec<_> = (0..10).map(Box::new).collect();
//! assert_eq!(queue.push_burst(&mut burst), 10);
//!
//! let thief = std::thread::spawn(move || {
//!     let mut loot = Vec::new();
//!     // Up to half of what is there, the oldest first.
//!     assert_eq!(thief.steal(32, &mut loot), Stolen::Items(5));
//!     loot
//! });
//! assert!(thief.join().unwrap().into_iter().map(|item| *item).eq(0..5));
//! assert_eq!(queue.pop().as_deref(), Some(&5));
//! ```

mod append;
mod double;
mod growth;
mod queue;
mod ring;
mod slots;
#[cfg(all(test, not(loom)))]
mod tests;
mod word;

pub use append::Append;
pub use double::Double;
pub use growth::{Growth, Stolen};
pub use queue::{RunQueue, Stealer};
pub use word::{Batch, Word};

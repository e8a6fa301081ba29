//! Any of the forwarding engines, told apart per packet: for work that costs so
//! much that this is nothing beside it. It spares the loop from being compiled
//! for each of them once more.

use super::choice::choice;
use super::{Io, L3, Mac, MacSwap};

choice! {
    #[derive(Clone, Debug)]
    pub enum Any {
        Io(Io),
        Mac(Mac),
        MacSwap(MacSwap),
        L3(L3),
    }
}

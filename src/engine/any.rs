//! Any of the forwarding engines, chosen per packet. For work next to which
//! that branch costs nothing; it spares compiling the loop once more for each
//! engine.

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

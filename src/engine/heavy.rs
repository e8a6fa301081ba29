//! Any of the engines whose packets may cost much, chosen per packet. Next to
//! that work the branch costs nothing; it spares compiling the loop once more
//! for each engine.

use super::choice::choice;
use super::{Any, Carried, Dpi, Spin};

choice! {
    pub enum Heavy {
        Spin(Spin<Any>),
        Carried(Carried<Any>),
        Dpi(Dpi),
    }
}

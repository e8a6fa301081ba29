//! Any of the engines whose packets may cost much, told apart per packet:
//! beside that work it is nothing, and it spares the loop from being compiled
//! for each of them once more.

use super::choice::choice;
use super::{Any, Carried, Dpi, Spin};

choice! {
    pub enum Heavy {
        Spin(Spin<Any>),
        Carried(Carried<Any>),
        Dpi(Dpi),
    }
}

//! `mac`: sets the source address to that of the outgoing port, and the
//! destination address to that of the port's peer.

use super::{Addresses, Rewrite};

pub type Mac = Rewrite<SetBoth>;

#[derive(Clone, Debug)]
pub struct SetBoth;

impl Addresses for SetBoth {
    #[inline(always)]
    fn change(frame: &mut [u8], outgoing: &[u8; 12]) {
        if let Some(addresses) = frame.first_chunk_mut() {
            *addresses = *outgoing;
        }
    }
}

//! `macswap`: swaps source and destination address.

use super::{Addresses, Rewrite};

pub type MacSwap = Rewrite<Swap>;

#[derive(Clone, Debug)]
pub struct Swap;

impl Addresses for Swap {
    /// By two loads and two stores that overlap, instead of six-byte copies.
    #[inline(always)]
    fn change(addresses: &mut [u8; 12], _: &[u8; 12]) {
        let [Some(front), Some(back)] = [addresses.first_chunk(), addresses.last_chunk()].map(Option::<&[u8; 8]>::copied) else { return };
        let (front, back) = (u64::from_le_bytes(front), u64::from_le_bytes(back));
        addresses[..8].copy_from_slice(&(back >> 16 | front << 48).to_le_bytes());
        addresses[8..].copy_from_slice(&((front >> 16) as u32).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_destination_change_places() {
        let mut addresses = *b"0dDdD1sSsSs2";
        Swap::change(&mut addresses, &[0; 12]);
        assert_eq!(&addresses, b"sSsSs20dDdD1");
    }
}

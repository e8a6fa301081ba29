//! `macswap`: swaps source and destination address.

use super::{Addresses, Rewrite};

pub type MacSwap = Rewrite<Swap>;

#[derive(Clone, Debug)]
pub struct Swap;

impl Addresses for Swap {
    #[inline(always)]
    fn change(frame: &mut [u8], _: &[u8; 12]) {
        match frame.first_chunk_mut::<16>() {
            Some(front) => swap_by_shuffle(front),
            None => frame[..12].rotate_left(6),
        }
    }
}

/// One load, one shuffle, one store. Every CPU that DPDK runs on has the
/// instruction.
#[cfg(target_feature = "ssse3")]
#[inline(always)]
fn swap_by_shuffle(front: &mut [u8; 16]) {
    use safe_arch::{load_unaligned_m128i, m128i, shuffle_av_i8z_all_m128i, store_unaligned_m128i};
    let places = m128i::from([6i8, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15]);
    let swapped = shuffle_av_i8z_all_m128i(load_unaligned_m128i(front), places);
    store_unaligned_m128i(front, swapped);
}

#[cfg(not(target_feature = "ssse3"))]
#[inline(always)]
fn swap_by_shuffle(front: &mut [u8; 16]) {
    front[..12].rotate_left(6);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_destination_are_swapped() {
        for behind in ["23", "2345", "2345 and what follows"] {
            let mut frame = format!("0dDdD1sSsSs2{behind}").into_bytes();
            Swap::change(&mut frame, &[0; 12]);
            assert_eq!(frame, format!("sSsSs20dDdD1{behind}").into_bytes());
        }
    }
}

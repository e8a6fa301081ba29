//! Medians, and alternating windows of two programs until enough pairs count.
//! Callers supply the windows.

use crate::gate::{Accepted, Distance, Gate, Reading, Uses};
use crate::process::Failure;

/// Windows that may be discarded per wanted pair. Beyond that the machine is
/// too unsteady.
const DISCARDS_PER_ROUND: usize = 8;

/// The middle value, or the mean of the two in the middle. `None` without
/// values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

pub struct Pair<T> {
    pub mpfwd_mpps: f64,
    pub peer: T,
    pub distance: Distance,
    /// Round trip between the two CPUs, and the receiving one's share of its
    /// core.
    pub round_trip_ns: f64,
    pub core_share: f64,
}

pub struct Compared<T> {
    pub pairs: Vec<Pair<T>>,
    /// Windows during which the machine's state moved, or moved before the
    /// other window of the pair.
    pub discarded: usize,
}

/// Runs mpfwd and a peer in turn until `rounds` pairs of windows each lie in
/// one state, or too many were discarded. Passes every window to `said`.
pub fn compare<T>(
    gate: &mut Gate,
    uses: Uses,
    rounds: usize,
    mut mpfwd: impl FnMut() -> Result<f64, Failure>,
    mut peer: impl FnMut() -> Result<T, Failure>,
    mut said: impl FnMut(&Compared<T>),
) -> Result<Compared<T>, Failure> {
    let mut compared = Compared { pairs: Vec::new(), discarded: 0 };
    let mut ours: Option<Accepted<f64>> = None;
    while compared.pairs.len() < rounds && compared.discarded < rounds * DISCARDS_PER_ROUND {
        let Some(a) = ours.take() else {
            ours = gate.window(uses, &mut mpfwd)?;
            compared.discarded += usize::from(ours.is_none());
            said(&compared);
            continue;
        };
        match gate.window(uses, &mut peer)? {
            Some(b) if a.before.same(&b.after, uses) => compared.pairs.push(Pair {
                mpfwd_mpps: a.figure,
                peer: b.figure,
                distance: b.before.distance(),
                round_trip_ns: b.before.round_trip_ns,
                core_share: gate.share(&b.before),
            }),
            // mpfwd's window is kept for the next try if the state came back.
            _ => {
                compared.discarded += 1;
                if gate.now()?.same(&a.before, uses) {
                    ours = Some(a);
                } else {
                    compared.discarded += 1;
                }
            }
        }
        said(&compared);
    }
    Ok(compared)
}

/// Runs rounds of several programs, mpfwd first, until `rounds` count or too
/// many were discarded. Returns a comparison per peer.
pub fn compare_in_turns(
    gate: &mut Gate,
    rounds: usize,
    mut round: impl FnMut() -> Result<Vec<f64>, Failure>,
    mut said: impl FnMut(),
) -> Result<Vec<Compared<f64>>, Failure> {
    let mut compared: Vec<Compared<f64>> = Vec::new();
    let (mut counted, mut discarded) = (0, 0);
    while counted < rounds && discarded < rounds * DISCARDS_PER_ROUND {
        let Some((mpps, state)) = gate.quietly(&mut round)? else {
            discarded += 1;
            continue;
        };
        counted += 1;
        let (mpfwd_mpps, peers) = mpps.split_first().expect("mpfwd has its turns");
        compared.resize_with(peers.len(), || Compared { pairs: Vec::new(), discarded: 0 });
        for (compared, &peer) in compared.iter_mut().zip(peers) {
            let Reading { round_trip_ns, .. } = state;
            let (distance, core_share) = (state.distance(), gate.share(&state));
            compared.pairs.push(Pair {
                mpfwd_mpps: *mpfwd_mpps,
                peer,
                distance,
                round_trip_ns,
                core_share,
            });
        }
        said();
    }
    compared.iter_mut().for_each(|compared| compared.discarded = discarded);
    Ok(compared)
}

/// Runs one program until `rounds` windows count or too many were discarded.
/// Returns the figures, and the number of discarded windows.
pub fn repeat<T>(
    gate: &mut Gate,
    uses: Uses,
    rounds: usize,
    mut run: impl FnMut() -> Result<T, Failure>,
    mut said: impl FnMut(),
) -> Result<(Vec<T>, usize), Failure> {
    let mut figures = Vec::new();
    let mut discarded = 0;
    while figures.len() < rounds && discarded < rounds * DISCARDS_PER_ROUND {
        match gate.window(uses, &mut run)? {
            Some(window) => {
                figures.push(window.figure);
                said();
            }
            None => discarded += 1,
        }
    }
    Ok((figures, discarded))
}

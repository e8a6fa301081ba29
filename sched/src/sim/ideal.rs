//! Bounds that no mode can beat: lcores that share one queue, know everything
//! at once and do nothing but packets. They do not preempt a packet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::agenda::{Agenda, NEVER};
use super::{Arrival, Sent};

/// Which packet an idle lcore begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ideal {
    /// The oldest one.
    Central,
    /// The oldest cheap one; if there is none, the oldest expensive one, while
    /// fewer than `cap` lcores are in expensive work. The fewer these are, the
    /// less do cheap packets wait; but the cap must exceed the expensive
    /// Erlangs.
    Elastic {
        /// At least 1.
        cap: usize,
    },
}

/// Simulates an ideal. `lcores` serve the packets of `queues` receive queues
/// that are due before `end_ticks`; all that came are finished. Each packet
/// takes `pkt_ticks` more than its cost.
pub fn ideal(
    ideal: Ideal,
    (lcores, queues): (usize, usize),
    (pkt_ticks, end_ticks): (u64, u64),
    mut traffic: impl FnMut(usize) -> Option<Arrival>,
    mut sent: impl FnMut(Sent),
) {
    let mut agenda = Agenda::new(queues);
    let mut next: Vec<Option<Arrival>> = (0..queues).map(&mut traffic).collect();
    let due = |arrival: &Option<Arrival>| arrival.map_or(NEVER, |arrival| arrival.due_ticks);
    next.iter().enumerate().for_each(|(at, arrival)| agenda.set(at, due(arrival)));
    let mut waiting: [VecDeque<(usize, Arrival)>; 2] = [VecDeque::new(), VecDeque::new()];
    let mut ends: BinaryHeap<Reverse<(u64, usize, bool)>> = BinaryHeap::new();
    let mut idle: Vec<usize> = (0..lcores).rev().collect();
    let mut in_expensive = 0;
    loop {
        let (queue, due_ticks) = agenda.first();
        let due_ticks = if due_ticks < end_ticks { due_ticks } else { NEVER };
        let end = ends.peek().map_or(NEVER, |end| end.0.0);
        let now = due_ticks.min(end);
        if now == NEVER {
            return;
        }
        if end <= due_ticks {
            if let Some(Reverse((_, lcore, expensive))) = ends.pop() {
                idle.push(lcore);
                in_expensive -= usize::from(expensive);
            }
        } else if let Some(arrival) = next[queue].take() {
            let class = ideal != Ideal::Central && arrival.expensive;
            waiting[usize::from(class)].push_back((queue, arrival));
            next[queue] = traffic(queue);
            agenda.set(queue, due(&next[queue]));
        }
        while let Some(&lcore) = idle.last() {
            let cap = match ideal {
                Ideal::Central => usize::MAX,
                Ideal::Elastic { cap } => cap,
            };
            let first = match waiting[0].pop_front() {
                None if in_expensive < cap => waiting[1].pop_front(),
                first => first,
            };
            let Some((queue, arrival)) = first else { break };
            idle.pop();
            let sent_ticks = now + arrival.cost_ticks + pkt_ticks;
            let counts = arrival.expensive && ideal != Ideal::Central;
            in_expensive += usize::from(counts);
            ends.push(Reverse((sent_ticks, lcore, counts)));
            sent(Sent {
                due_ticks: arrival.due_ticks,
                sent_ticks,
                cost_ticks: arrival.cost_ticks,
                expensive: arrival.expensive,
                queue,
                lcore,
            });
        }
    }
}

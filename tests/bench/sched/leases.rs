//! What it costs an lcore to share its receive queue, per burst: the lease in each
//! of its states, places in flows, and an idle lcore that watches.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use micropools::Line;
use micropools::attention::{Attention, Signs, Watch};
use micropools::board::Board;
use micropools::lease::Lease;
use micropools::order::Keeping;
use mpfwd::dpdk::clock::tsc;
use mpfwd::policy::Pool;

use crate::one_core::{BURST, cycles_per_item};
use crate::pin;
use crate::table::Figures;
use crate::two_cores::in_turns;

/// Hand-overs per window.
const TURNS: u64 = 2_000;
/// Bursts of the watched lcore per window, and the cycles that it works on each.
const BURSTS: u64 = 5_000;
const WORK_CYCLES: u64 = 800;
/// The beat is written so often: every 6 us at 2.6 GHz.
const BEAT_EVERY: u64 = 16_000;
const STALL_AFTER: u64 = 130_000;

pub fn measure(cpus: [usize; 2], rounds: u16, figures: &mut Figures) {
    for _ in 0..rounds {
        of_one_core(figures);
        figures.add(("two cores: lease from hand to hand", 1), hand_over_cycles(cpus));
        for (name, watched) in [
            ("two cores: an lcore's burst, watched by none", false),
            ("two cores: an lcore's burst, watched by an idle one", true),
        ] {
            figures.add((name, BURST), burst_cycles(cpus, watched));
        }
    }
}

fn of_one_core(figures: &mut Figures) {
    let lease = Line(Lease::new());
    let claimed = cycles_per_item(1, || drop(black_box(black_box(&lease).try_acquire())));
    figures.add(("lease: acquire, release", 1), claimed);
    let held = lease.try_acquire();
    let kept = cycles_per_item(1, || assert!(black_box(&held).is_some()));
    figures.add(("lease: held over bursts", 1), kept);
    let refused = cycles_per_item(1, || assert!(black_box(&lease).try_acquire().is_none()));
    figures.add(("lease: refused", 1), refused);
    drop(held);
    let order = Keeping::new(1, 8_192);
    // Each packet is of a flow of its own, and is sent at once.
    let placed = cycles_per_item(BURST, || {
        let tickets: [_; BURST] = std::array::from_fn(|at| {
            order.enter(order.bucket(0, at as u32)).expect("there are records enough")
        });
        for ticket in tickets {
            let sent = order.finish(ticket, ());
            assert!(sent.is_some() && order.release(ticket).is_none());
        }
    });
    figures.add(("places of a burst, given and released", BURST), placed);
}

/// An lcore acquires and releases a lease that another one has had before.
fn hand_over_cycles(cpus: [usize; 2]) -> f64 {
    let lease = Line(Lease::new());
    let cycles = in_turns(
        cpus,
        TURNS,
        || drop(lease.try_acquire()),
        || {
            let start = tsc();
            assert!(lease.try_acquire().is_some(), "the other one has released it");
            tsc().wrapping_sub(start)
        },
    );
    cycles as f64 / TURNS as f64
}

/// Cycles per packet of an lcore that works on bursts, and shows what lcores show
/// in modes that share. `watched`: an idle lcore looks at it meanwhile.
fn burst_cycles(cpus: [usize; 2], watched: bool) -> f64 {
    let board = Board::new(Pool::A, tsc(), BEAT_EVERY);
    let (attention, lease) = (Attention::new(2), Line(Lease::new()));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let owner = scope.spawn(|| {
            pin(cpus[0]);
            let mut signs = Signs::new(&attention, 0);
            let start = tsc();
            for _ in 0..BURSTS {
                let now = tsc();
                let held = lease.try_acquire();
                if board.beat.show(now).is_some() {
                    signs.settle(&board);
                }
                board.show_pressure(None);
                while tsc().wrapping_sub(now) < WORK_CYCLES {}
                drop(held);
            }
            let cycles = tsc().wrapping_sub(start);
            over.store(true, Ordering::Relaxed);
            cycles as f64 / (BURSTS * BURST as u64) as f64
        });
        if watched {
            scope.spawn(|| {
                pin(cpus[1]);
                let mut watch = Watch::new(1, 2, Some(STALL_AFTER));
                while !over.load(Ordering::Relaxed) {
                    black_box(watch.look(tsc(), &attention, |_| &board));
                    std::hint::spin_loop();
                }
            });
        }
        owner.join().expect("the owner does not panic")
    })
}

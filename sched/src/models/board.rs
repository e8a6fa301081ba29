//! Models of the board: its owner writes while others read.

use loom::sync::Arc;
use loom::thread;

use super::{explore, let_others_begin};
use crate::attention::{AtomicSet, Attention, Signs};
use crate::board::{Beat, Board};
use crate::heartbeat::{Busy, Cost, Heartbeat};
use crate::policy::Pool;

#[test]
fn a_heartbeat_is_seen_whole() {
    explore("heartbeat", || {
        let busy = |number: u32| Busy {
            since_ticks: u64::from(number),
            flow_hash: 10 * number,
            cost: if number.is_multiple_of(2) { Cost::Expensive } else { Cost::Unknown },
        };
        let heartbeat = Arc::new(Heartbeat::new());
        let lcore = {
            let heartbeat = heartbeat.clone();
            thread::spawn(move || {
                for number in 1..4 {
                    heartbeat.begin(busy(number));
                    heartbeat.end();
                }
            })
        };
        let_others_begin();
        for _ in 0..2 {
            if let Some(seen) = heartbeat.busy() {
                assert_eq!(seen, busy(seen.since_ticks as u32));
            }
        }
        lcore.join().unwrap();
        assert_eq!((heartbeat.busy(), heartbeat.busy_ticks(9)), (None, None));
    });
}

/// Looks three times, from another lcore. Loom lets each relaxed load return
/// any value that coherence allows.
fn looks<B: Send + Sync + 'static, T: Send + 'static>(
    shown: &Arc<B>,
    look: impl Fn(&B) -> T + Send + 'static,
) -> thread::JoinHandle<[T; 3]> {
    let shown = shown.clone();
    thread::spawn(move || [(); 3].map(|()| look(&shown)))
}

#[test]
fn a_silence_grows_by_time_alone() {
    explore("beat", || {
        let beat = Arc::new(Beat::new(10, 10));
        let other = looks(&beat, Beat::shown_ticks);
        let_others_begin();
        // The second is too soon after the first to be written.
        let counted_from = [20, 25, 30].map(|now| beat.show(now));
        assert_eq!(counted_from, [Some(10), None, Some(20)], "others count its silence from then");
        let seen = other.join().unwrap();
        assert!(seen.is_sorted() && seen.iter().all(|ticks| [10, 20, 30].contains(ticks)));
        assert_eq!(beat.age_ticks(31), 1);
    });
}

#[test]
fn pressure_is_of_one_episode_and_none_comes_back() {
    explore("pressure", || {
        let board = Arc::new(Board::new(Pool::A, 1, 1));
        let other = looks(&board, Board::pressed_since_ticks);
        let_others_begin();
        for shown in [Some(5), Some(6), None, Some(9)] {
            board.show_pressure(shown);
        }
        let seen = other.join().unwrap();
        let episodes: Vec<u64> = seen.into_iter().flatten().collect();
        assert!(episodes.iter().all(|since| [5, 9].contains(since)), "its first tick: {seen:?}");
        assert!(episodes.is_sorted(), "a later look shows no earlier episode: {seen:?}");
        assert_eq!((board.pressed_since_ticks(), board.hint(0, 9).pressed), (Some(9), true));
    });
}

#[test]
fn members_of_one_word_do_not_undo_each_other() {
    explore("set", || {
        let set = Arc::new(AtomicSet::new(2));
        let other = {
            let set = set.clone();
            thread::spawn(move || {
                set.insert(0);
                set.remove(0);
                set.insert(0);
            })
        };
        let_others_begin();
        set.insert(1);
        assert!(set.contains(1));
        set.remove(1);
        other.join().unwrap();
        assert!(set.contains(0) && !set.contains(1));
    });
}

#[test]
fn one_helper_gets_the_claim() {
    explore("claim", || {
        let board = Arc::new(Board::new(Pool::A, 1, 1));
        let other = {
            let board = board.clone();
            thread::spawn(move || board.claim_help(1, 50_000, 10_000))
        };
        let_others_begin();
        let claimed = board.claim_help(0, 50_000, 10_000);
        assert!(claimed != other.join().unwrap(), "one polls, and the other does not");
        assert!(board.claim_help(0, 70_000, 10_000), "a claim does not outlast its time");
    });
}

/// As two lcores that are pressed and settle, whose bits share a word. Neither
/// may take the other's bit along, and each leaves only when its board says so.
#[test]
fn an_lcore_is_in_the_set_while_its_board_shows_the_reason() {
    explore("signs", || {
        let attention = Arc::new(Attention::new(2));
        let other = {
            let attention = attention.clone();
            thread::spawn(move || {
                let (board, mut signs) = (Board::new(Pool::A, 1, 1), Signs::new(&attention, 1));
                signs.show_pressed();
                board.show_pressure(Some(5));
                signs.settle(&board);
                signs.settle(&board);
                assert!(attention.pressed.contains(1), "its board shows the reason");
                board.show_pressure(None);
                signs.settle(&board);
                assert!(!attention.pressed.contains(1), "it has none, and has settled");
            })
        };
        let_others_begin();
        let (board, mut signs) = (Board::new(Pool::A, 1, 1), Signs::new(&attention, 0));
        signs.show_pressed();
        board.show_pressure(Some(6));
        signs.settle(&board);
        assert!(attention.pressed.contains(0));
        board.show_pressure(None);
        signs.settle(&board);
        signs.show_pressed();
        board.show_pressure(Some(9));
        other.join().unwrap();
        assert!(attention.pressed.contains(0) && !attention.pressed.contains(1));
    });
}

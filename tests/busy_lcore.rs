//! An lcore that cannot be launched: the run is called off, the lcores that
//! have started stop, and everything is closed.

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Leftovers, NO_HUGE, file_prefix, lcores, words};
use mpfwd::app::{self, Host};
use mpfwd::cli::Cli;
use mpfwd::dpdk::{Eal, find_ports};
use mpfwd::error::Error;

/// Time that the started lcores would run.
const DURATION: Duration = Duration::from_secs(40);

#[test]
fn a_run_that_lacks_an_lcore_is_called_off() {
    let prefix = Leftovers(file_prefix());
    let line = format!(
        "busy --no-pci --file-prefix {} {NO_HUGE} {} --vdev net_null0",
        prefix.0,
        lcores(3)
    );
    let host = Host::before_eal().expect("signals can be caught");
    let eal = Eal::start(&words(&line)).expect("EAL starts");
    let line = format!("--idle yield --pools 2:1 --order none --duration {}", DURATION.as_secs());
    let cli = Cli::read(&words(&line)).expect("valid arguments").expect("no help");
    let last = eal.lcores()[2];
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let eal = &eal;
        let busy = move || {
            begun.send(()).expect("somebody waits");
            let _ = released.recv();
        };
        let occupied = scope.spawn(move || eal.run(vec![(last, Box::new(busy))], || ()));
        has_begun.recv().expect("the lcore takes that job");
        let called = Instant::now();
        let error = app::run(eal, &cli, &host).expect_err("an lcore is missing");
        assert!(
            matches!(&error, Error::Setup(why) if why.contains(&format!("lcore {} does not take work", last.id))),
            "{error}"
        );
        assert!(called.elapsed() < DURATION / 2, "after {:?}", called.elapsed());
        drop(release);
        occupied.join().expect("no panic").expect("it ran");
    });
    assert!(
        find_ports(&eal).expect("ports describe themselves").is_empty(),
        "the ports are closed"
    );
}

//! Parts of latency: the driver's time is not part of the stage before.

mod common;

use common::{count, lcores, run};

/// Writing to a file takes a driver longer than an engine takes for nothing,
/// and workers dequeue so many packets at once that they send runs.
#[test]
fn a_slow_driver_shows_in_transmit_and_not_in_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.pcap");
    let eal = format!(
        "{} --vdev net_null0,size=400 --vdev net_pcap0,tx_pcap={}",
        lcores(2),
        file.display()
    );
    for (class, own) in [
        ("cheap", "--mode rtc"),
        ("expensive", "--pools 1:1 --work spin:cheap=0ns,expensive=0ns,p=1 --order none"),
    ] {
        let outcome = run(&eal, &format!("--packets 20000 --idle yield {own}"));
        let parts = &outcome.good_report()["latency"]["parts"][class];
        let (service, transmit) = (&parts["service"], &parts["transmit"]);
        assert!(count(service, "pkts") > 0 && count(transmit, "pkts") > 0, "{own}: {parts:#}");
        assert!(count(transmit, "p50_ns") > count(service, "p50_ns"), "{own}: {parts:#}");
    }
}

//! `mpctl status`: what has passed so far.

use std::fmt::Write;

use super::report::Report;
use mpfwd_common::text::{grouped, short, table, time, wrapped};

/// The reasons for which mpfwd is not ready, and its report, for people.
pub(super) fn text(report: &Report, reasons: &[String]) -> String {
    let mut text = String::new();
    let pools = report.pools.as_ref().map_or(String::new(), |pools| format!(" {pools}"));
    let ready = match reasons {
        [] => "ready".to_owned(),
        reasons => format!("not ready: {}", reasons.join("; ")),
    };
    let first = format!(
        "mode {}{pools}, forward-mode {}, {:.1} s, {ready}",
        report.mode, report.forward_mode, report.elapsed_s
    );
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", wrapped(&first));
    let mut lcores = table(&["lcore", "cpu", "pool", "rx", "tx", "shed", "taken", "dropped"]);
    for row in &report.lcores {
        let name = if row.main { format!("{} main", row.lcore) } else { row.lcore.to_string() };
        let mut cells = vec![name, row.cpu.to_string(), row.pool.clone()];
        let counts = [row.rx_pkts, row.tx_pkts, row.shed_pkts, row.taken_pkts, row.dropped()];
        cells.extend(counts.map(short));
        lcores.add_row(cells);
    }
    let _ = writeln!(text, "{lcores}");
    let mut ports = table(&["port", "name", "link", "missed", "no buffer"]);
    for (row, &up) in report.ports.iter().zip(&report.live.links_up) {
        let link = match &row.lost {
            Some(lost) => lost.as_str(),
            None if up => "up",
            None => "DOWN",
        };
        let (missed, no_buffer) = (short(row.device.imissed), short(row.device.rx_nombuf));
        let cells = [row.port.to_string(), row.name.clone(), link.to_owned(), missed, no_buffer];
        ports.add_row(cells);
    }
    let _ = writeln!(text, "{ports}");
    if let Some(latency) = &report.latency {
        let mut rows = table(&["latency", "packets", "p50", "p99", "p99.9", "max"]);
        for (class, row) in [("cheap", &latency.cheap), ("expensive", &latency.expensive)] {
            if row.pkts > 0 {
                let mut cells = vec![class.to_owned(), grouped(row.pkts)];
                cells.extend([row.p50_ns, row.p99_ns, row.p999_ns, row.max_ns].map(time));
                rows.add_row(cells);
            }
        }
        if rows.row_count() > 0 {
            let _ = writeln!(text, "{rows}\nlatency: {} timestamps", latency.source);
        }
    }
    let _ = writeln!(
        text,
        "received {}, sent {}, dropped {}; {} of {} mbufs free; {} incidents on record",
        grouped(report.rx_pkts),
        grouped(report.tx_pkts),
        grouped(report.dropped()),
        grouped(report.mbufs_free),
        grouped(report.mbufs),
        report.incidents.len(),
    );
    let causes = report.drops.iter().filter(|(_, count)| **count > 0);
    let causes: Vec<_> =
        causes.map(|(cause, count)| format!("{cause} {}", grouped(*count))).collect();
    if !causes.is_empty() {
        let _ = writeln!(text, "{}", wrapped(&format!("  dropped as {}", causes.join(", "))));
    }
    text
}

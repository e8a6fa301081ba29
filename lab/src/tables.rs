//! The printed form of a comparison: a table per class, a table of the modes,
//! and the conditions.

use comfy_table::Table;

use super::class::Class;
use super::comparison::{Comparison, Row, TwinRow};
use mpfwd_common::text::{short, table, time, time_range, wrapped};

/// The whole output.
pub(super) fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for class in Class::ALL {
        if comparison.medians(class).any(|row| row.pkts > 0) {
            text += &format!("{}\n\n", latencies(comparison, class));
        }
    }
    text += &format!("{}\n\n", modes(comparison));
    if !comparison.twin.is_empty() {
        text += &format!("{}\n\n", twins(&comparison.twin));
    }
    let lines: Vec<String> = conditions(comparison).iter().map(|line| wrapped(line)).collect();
    text + &lines.join("\n")
}

fn conditions(comparison: &Comparison) -> Vec<String> {
    let parameters = &comparison.parameters;
    let mut lines = vec![
        format!(
            "medians over rounds of {} s; lcores {}, pools {}, {}, DPDK {}",
            parameters.round_s,
            parameters.lcores,
            parameters.pools,
            parameters.memory,
            comparison.dpdk
        ),
        format!("--work {}", parameters.work),
        format!("--source {}", parameters.source),
    ];
    if let (Some(p), Some(busy)) = (parameters.p, parameters.expensive_load) {
        lines.push(format!(
            "expensive packets (p = {p:.3e}) keep {busy:.3} of {} lcores busy",
            parameters.lcore_count
        ));
    }
    if let Some(row) = comparison.medians(Class::Cheap).next() {
        let ns = row.source_pkt_ns;
        lines.push(format!("source's own work: {ns:.1} ns per packet, beyond the packets' costs"));
    }
    lines.push(format!("latency: {}", comparison.clock));
    lines.push(format!("  {}", comparison.bound));
    lines
        .push("host gap: lcore time taken by the host; a tail of that length is the host's".into());
    lines.extend(comparison.notes.iter().map(|note| format!("warning: {note}")));
    lines
}

fn or_dash(ns: Option<u64>) -> String {
    ns.map_or("-".to_owned(), time)
}

/// The latencies of a class, a row per mode.
fn latencies(comparison: &Comparison, class: Class) -> Table {
    let range = |least: Option<u64>, most: Option<u64>| match (least, most) {
        (Some(min), Some(max)) => time_range(min, max),
        _ => "-".to_owned(),
    };
    let mut table = table(&[
        class.name(),
        "p50",
        "of rounds",
        "p90",
        "p99",
        "of rounds",
        "p99.9",
        "p99.99",
        "max",
    ]);
    for row in comparison.medians(class) {
        table.add_row([
            row.mode.clone(),
            or_dash(row.p50_ns),
            range(row.p50_min_ns, row.p50_max_ns),
            or_dash(row.p90_ns),
            or_dash(row.p99_ns),
            range(row.p99_min_ns, row.p99_max_ns),
            or_dash(row.p999_ns),
            or_dash(row.p9999_ns),
            or_dash(row.max_ns),
        ]);
    }
    table
}

/// Rates, losses and scheduling counts over both classes, a row per mode.
fn modes(comparison: &Comparison) -> Table {
    let mut table = table(&[
        "mode",
        "rounds",
        "cheap",
        "expensive",
        "tx Mpps",
        "lost",
        "sheds",
        "steals",
        "takeovers",
        "host gap",
    ]);
    let lost = |row: &Row| match row.lost_pkts {
        0 => "0".to_owned(),
        _ if row.lost_share < 1e-4 => "<0.01 %".to_owned(),
        _ => format!("{:.2} %", row.lost_share * 100.0),
    };
    // Both classes have a row in every mode that was measured.
    for (cheap, expensive) in
        comparison.medians(Class::Cheap).zip(comparison.medians(Class::Expensive))
    {
        let mut cells = vec![cheap.mode.clone(), cheap.rounds.to_string()];
        cells.extend([cheap.pkts, expensive.pkts].map(short));
        cells.extend([format!("{:.3}", cheap.tx_mpps), lost(cheap)]);
        cells.extend([cheap.sheds, cheap.steals, cheap.takeovers].map(short));
        cells.push(time(cheap.host_gap_ns));
        table.add_row(cells);
    }
    table
}

/// Measured and simulated figures side by side.
fn twins(rows: &[TwinRow]) -> String {
    let mut table =
        table(&["twin", "class", "p50", "simulated", "ratio", "p99", "simulated", "ratio"]);
    for row in rows {
        let ratio = |simulated: u64, measured: u64| {
            format!("{:.2}", simulated as f64 / measured.max(1) as f64)
        };
        table.add_row([
            row.mode.clone(),
            row.class.name().to_owned(),
            time(row.measured_p50_ns),
            time(row.simulated_p50_ns),
            ratio(row.simulated_p50_ns, row.measured_p50_ns),
            time(row.measured_p99_ns),
            time(row.simulated_p99_ns),
            ratio(row.simulated_p99_ns, row.measured_p99_ns),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::comparison;
    use mpfwd_common::text::COLUMNS;

    #[test]
    fn each_class_with_packets_has_a_table_and_both_share_one() {
        let text = text(&comparison());
        let rows = |mode: &str| {
            text.lines().filter(|line| line.split_whitespace().next() == Some(mode)).count()
        };
        assert_eq!(
            (rows("rtc"), rows("hybrid"), rows("cheap"), rows("mode"), rows("expensive")),
            (2, 2, 1, 1, 1),
            "a table of cheap packets, one of modes, and a line on p: {text}"
        );
        for says in [
            "2.00..9.01 us",
            "1.00..9.01 us",
            "33.33 %",
            "p = 1.000e-5",
            "warning: interrupted",
            "50.0 ns per packet",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }

    #[test]
    fn the_widest_row_fits_a_terminal() {
        let mut wide = comparison();
        for row in &mut wide.rows {
            row.mode = "steal-every".into();
            let (low, high) = (Some(999_000), Some(10_800_000));
            (row.p50_min_ns, row.p50_max_ns, row.p99_min_ns, row.p99_max_ns) =
                (low, high, low, high);
            (row.p50_ns, row.p90_ns, row.p99_ns) = (high, high, high);
            (row.p999_ns, row.p9999_ns, row.max_ns) = (low, low, low);
            (row.pkts, row.sheds, row.steals) = (123_456_789, 123_456_789, 123_456_789);
            (row.takeovers, row.host_gap_ns, row.tx_mpps) = (123_456_789, 123_000_000, 123.456);
        }
        let tables = [latencies(&wide, Class::Cheap), modes(&wide)];
        for table in tables.map(|table| table.to_string()) {
            assert!(table.lines().all(|line| line.chars().count() <= COLUMNS), "{table}");
            assert_eq!(table.lines().count(), 4, "no cell is wrapped: {table}");
        }
        assert!(text(&wide).lines().all(|line| line.chars().count() <= COLUMNS));
    }

    #[test]
    fn both_and_their_ratio_are_shown() {
        let row = TwinRow {
            mode: "rtc".into(),
            class: Class::Cheap,
            measured_p50_ns: 1_000,
            simulated_p50_ns: 1_100,
            measured_p99_ns: 10_000,
            simulated_p99_ns: 5_000,
        };
        let text = twins(&[row]);
        assert!(text.contains("1.10") && text.contains("0.50"), "{text}");
    }
}

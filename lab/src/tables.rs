//! The tables of a comparison, one per class.

use super::args::Class;
use super::comparison::{Comparison, Row};
use mpfwd_common::text::{grouped, table, time};

/// Everything that is printed of a comparison.
pub(super) fn text(comparison: &Comparison) -> String {
    let parameters = &comparison.parameters;
    let mut text = String::new();
    for class in Class::ALL {
        if comparison.medians(class).any(|row| row.pkts > 0) {
            text += &format!("{}\n", of_class(comparison, class));
        }
    }
    text += &format!(
        "medians over rounds of {} s; lcores {}, pools {} where there are two, {}; DPDK {}\n--work {} --source {}\n",
        parameters.round_s,
        parameters.lcores,
        parameters.pools,
        parameters.memory,
        comparison.dpdk,
        parameters.work,
        parameters.source
    );
    if let (Some(p), Some(busy)) = (parameters.p, parameters.expensive_load) {
        text += &format!(
            "expensive packets (p = {p:.3e}) keep {busy:.3} of {} lcores busy\n",
            parameters.lcore_count
        );
    }
    if let Some(row) = comparison.medians(Class::Cheap).next() {
        text += &format!(
            "the source's own work, {:.1} ns per packet, is on top of what packets cost\n",
            row.source_pkt_ns
        );
    }
    text += &format!("latency is {}; {}\n", comparison.clock, comparison.bound);
    text += "host gap: time that the host took from the lcores, as far as they noticed; a tail of that length is the host's";
    for note in &comparison.notes {
        text += &format!("\nwarning: {note}");
    }
    text
}

fn of_class(comparison: &Comparison, class: Class) -> comfy_table::Table {
    let mut table = table(&[
        class.name(),
        "rounds",
        "packets",
        "p50",
        "p50 of rounds",
        "p90",
        "p99",
        "p99 of rounds",
        "p99.9",
        "p99.99",
        "max",
        "tx Mpps",
        "lost",
        "sheds",
        "steals",
        "takeovers",
        "host gap",
    ]);
    for row in comparison.medians(class) {
        table.add_row(cells(row));
    }
    table
}

fn cells(row: &Row) -> Vec<String> {
    let or_none = |ns: Option<u64>| ns.map_or("-".to_owned(), time);
    let spread = |least: Option<u64>, most: Option<u64>| match (least, most) {
        (Some(min), Some(max)) => format!("{}..{}", time(min), time(max)),
        _ => "-".to_owned(),
    };
    let lost = match row.lost_pkts {
        0 => "0".to_owned(),
        _ if row.lost_share < 1e-4 => "<0.01 %".to_owned(),
        _ => format!("{:.2} %", row.lost_share * 100.0),
    };
    let mut cells = vec![row.mode.clone(), row.rounds.to_string(), grouped(row.pkts)];
    cells.extend([or_none(row.p50_ns), spread(row.p50_min_ns, row.p50_max_ns)]);
    cells.extend([
        or_none(row.p90_ns),
        or_none(row.p99_ns),
        spread(row.p99_min_ns, row.p99_max_ns),
    ]);
    cells.extend([row.p999_ns, row.p9999_ns, row.max_ns].map(or_none));
    cells.extend([format!("{:.3}", row.tx_mpps), lost]);
    cells.extend([row.sheds, row.steals, row.takeovers].map(grouped));
    cells.push(time(row.host_gap_ns));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::comparison;

    #[test]
    fn each_class_with_packets_has_a_table_with_a_row_per_mode() {
        let text = text(&comparison());
        let rows = |mode: &str| {
            text.lines().filter(|line| line.split_whitespace().next() == Some(mode)).count()
        };
        assert_eq!(
            (rows("rtc"), rows("hybrid"), rows("cheap"), rows("expensive")),
            (1, 1, 1, 1),
            "one table, and a line on p: {text}"
        );
        for says in [
            "2.00 us..9.01 us",
            "1.00 us..9.01 us",
            "33.33 %",
            "p = 1.000e-5",
            "warning: interrupted",
            "50.0 ns per packet",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }
}

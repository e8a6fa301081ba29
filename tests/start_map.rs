//! The map that is printed at the start says what lcores then do: it is
//! compared with the report.

mod common;

use common::{Outcome, count, lcores, rows, run};
use serde_json::Value;

/// An lcore's line of the map.
#[derive(Debug)]
struct Line {
    lcore: u64,
    cpu: u64,
    pool: String,
    main: bool,
    polls: Vec<String>,
    serves: Option<String>,
    sheds: bool,
    sends_on: Vec<String>,
}

impl Line {
    /// `  lcore 0  cpu 0  pool A (main)  polls 0:0 1:0  sheds to shard 0
    /// serves 3 shards  sends on 0:0 1:0`
    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number =
            |at: usize| words[at].parse().unwrap_or_else(|_| panic!("no number in {line}"));
        let main = words[6] == "(main)";
        let part = |what: &str| line.split("  ").find_map(|part| part.trim().strip_prefix(what));
        let queues = |what: &str| {
            part(what).map_or(Vec::new(), |list| list.split(' ').map(str::to_owned).collect())
        };
        Self {
            lcore: number(1),
            cpu: number(3),
            pool: words[5].to_owned(),
            main,
            polls: queues("polls "),
            serves: part("serves ").map(str::to_owned),
            sheds: part("sheds to shard ").is_some(),
            sends_on: queues("sends on "),
        }
    }
}

/// The queues of one direction in which the report names this lcore.
fn queues_of(report: &Value, direction: &str, lcore: u64) -> Vec<String> {
    let rows = rows(report, "queues").iter().filter(|row| row["direction"] == direction);
    let named = rows.filter(|row| rows_lcores(row).contains(&lcore));
    named.map(|row| format!("{}:{}", count(row, "port"), count(row, "queue"))).collect()
}

fn rows_lcores(row: &Value) -> Vec<u64> {
    row["lcores"].as_array().expect("lcores of a queue").iter().filter_map(Value::as_u64).collect()
}

/// The map's lines, compared with what the report says of all modes alike.
fn checked(outcome: &Outcome) -> (Vec<Line>, &Value) {
    let report = outcome.good_report();
    let is_map = |line: &&String| {
        line.starts_with("  lcore ") && line.contains(" pool ") && line.contains("  sends on ")
    };
    let map: Vec<Line> =
        outcome.stdout.iter().filter(is_map).map(|line| Line::read(line)).collect();
    let by_lcore = rows(report, "lcores");
    assert_eq!(map.len(), by_lcore.len(), "a line per lcore: {map:?}");
    for (line, row) in map.iter().zip(by_lcore) {
        let said = (line.lcore, line.cpu, line.pool.as_str(), line.main);
        assert_eq!(
            said,
            (
                count(row, "lcore"),
                count(row, "cpu"),
                row["pool"].as_str().unwrap(),
                row["main"] == true
            ),
            "{line:?}"
        );
        assert_eq!(line.sends_on, queues_of(report, "tx", line.lcore), "{line:?}");
        assert!(
            line.serves.is_some() || count(row, "taken_pkts") == 0,
            "it serves shards: {line:?} {row:#}"
        );
        assert!(line.sheds || count(row, "shed_pkts") == 0, "it sheds: {line:?} {row:#}");
    }
    let mut polled: Vec<&String> = map.iter().flat_map(|line| &line.polls).collect();
    polled.sort();
    let mut there: Vec<String> = rows(report, "queues")
        .iter()
        .filter(|row| row["direction"] == "rx")
        .map(|row| format!("{}:{}", count(row, "port"), count(row, "queue")))
        .collect();
    there.sort();
    assert_eq!(
        polled,
        there.iter().collect::<Vec<_>>(),
        "each receive queue is polled by one lcore"
    );
    (map, report)
}

fn run_on_three(own: &str) -> Outcome {
    let eal = format!("{} --vdev net_null0 --vdev net_null1", lcores(3));
    run(
        &eal,
        &format!(
            "{own} --idle yield --packets 100000 --order none --work spin:expensive=20us,p=0.01"
        ),
    )
}

#[test]
fn in_pools_only_pool_b_serves_shards_and_does_not_poll() {
    let outcome = run_on_three("--mode pools --pools 2:1");
    let (map, report) = checked(&outcome);
    for line in &map {
        let polls = queues_of(report, "rx", line.lcore);
        match line.pool.as_str() {
            "A" => assert!(
                line.polls == polls && !polls.is_empty() && line.sheds && line.serves.is_none(),
                "{line:?}"
            ),
            _ => assert!(polls.is_empty() && line.polls.is_empty() && !line.sheds, "{line:?}"),
        }
    }
    assert_eq!(map[2].serves.as_deref(), Some("2 shards"), "one per lcore that sheds");
}

#[test]
fn in_hybrid_pool_a_serves_shards_too_unless_it_is_one_lcore() {
    for (pools, a_serves) in [("2:1", true), ("1:2", false)] {
        let outcome = run_on_three(&format!("--mode hybrid --pools {pools}"));
        let (map, report) = checked(&outcome);
        for line in &map {
            let expected = (line.pool == "B" || a_serves).then_some("3 shards");
            assert_eq!(line.serves.as_deref(), expected, "{pools}: {line:?}");
            assert!(line.sheds, "{pools}: {line:?}");
            let polls = queues_of(report, "rx", line.lcore);
            assert!(
                line.polls.iter().all(|queue| polls.contains(queue)),
                "{pools}: its own, and others' that it took over: {line:?} {polls:?}"
            );
        }
    }
}

//! Figures by name, their limits, and both as a table and as rows for JSON.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// A candidate: its name and burst size.
pub type Name = (&'static str, usize);

/// The measurements of one candidate.
struct Figure {
    name: Name,
    cycles_per_item: Vec<f64>,
    /// The distance of the CPUs, where two of them work.
    cpus: Option<String>,
}

#[derive(Serialize)]
pub struct Row {
    name: &'static str,
    burst: usize,
    cycles_per_item: Option<f64>,
    least: Option<f64>,
    windows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<String>,
}

/// `(mine, other, factor)`: mine may cost at most `factor` times the other.
const TARGETS: [(Name, Name, f64); 13] = [
    (("run queue, double", 32), ("rte_ring MP/MC", 32), 1.0),
    (("run queue, double", 32), ("rte_ring SP/SC", 32), 1.3),
    (("run queue, double", 32), ("crossbeam-deque FIFO", 32), 1.0 / 5.0),
    (
        ("two cores: run queue, steal", 32),
        ("two cores: crossbeam-deque, steal_batch", 32),
        1.0 / 1.5,
    ),
    (
        ("two cores: run queue, steal 32 of 512", 32),
        ("two cores: crossbeam-deque, steal_batch of 512", 32),
        1.0 / 1.5,
    ),
    (
        ("two cores: run queue, steal", 256),
        ("two cores: crossbeam-deque, steal_batch_with_limit", 256),
        1.0 / 1.5,
    ),
    (
        ("two cores: sharded queue, 1 producer, 1 worker", 32),
        ("two cores: rte_ring SP/SC", 32),
        1.3,
    ),
    (("shard choice: published heads", 64), ("shard choice: published heads", 4), 2.0),
    (
        ("shard choice, dequeue, enqueue: published heads", 64),
        ("shard choice, dequeue, enqueue: published heads", 4),
        2.0,
    ),
    (
        ("shard choice, dequeue, beside another: published heads", 64),
        ("shard choice, dequeue, beside another: published heads", 4),
        2.0,
    ),
    (("a busy lcore looks: sets", 64), ("a busy lcore looks: every queue", 64), 0.05),
    (("an idle lcore looks: sets", 64), ("an idle lcore looks: every board", 64), 0.25),
    // All together, per lcore that is stuck, of ten times as many.
    (("1 of 8 stuck, all look: sets", 128), ("1 of 8 stuck, all look: sets", 10), 2.0),
];

#[derive(Default)]
pub struct Figures {
    figures: Vec<Figure>,
}

impl Figures {
    pub fn add(&mut self, name: Name, cycles_per_item: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.cycles_per_item.push(cycles_per_item),
            None => self.figures.push(Figure {
                name,
                cycles_per_item: vec![cycles_per_item],
                cpus: None,
            }),
        }
    }

    /// Records the distance of the CPUs for the figures of these names.
    pub fn note_cpus(&mut self, starting_with: &str, cpus: &str) {
        for figure in
            self.figures.iter_mut().filter(|figure| figure.name.0.starts_with(starting_with))
        {
            figure.cpus = Some(cpus.to_owned());
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        self.figures.iter().map(row).collect()
    }

    pub fn print(&self) {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "queue",
            "burst",
            "cycles/item",
            "least",
            "windows",
            "CPUs",
        ]);
        for row in self.rows() {
            let number = |value: Option<f64>| {
                right(value.map_or(String::from("-"), |value| format!("{value:.2}")))
            };
            table.add_row(vec![
                Cell::new(row.name),
                right(row.burst.to_string()),
                number(row.cycles_per_item),
                number(row.least),
                right(row.windows.to_string()),
                Cell::new(row.cpus.as_deref().unwrap_or("-")),
            ]);
        }
        println!("{table}");
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_FULL_CONDENSED)
            .set_header(["queue", "beside", "burst", "ratio", "target", ""]);
        for (mine, other, factor) in TARGETS {
            let ratio = self.ratio(mine, other);
            let verdict = match ratio {
                None => "not measured",
                Some(ratio) if ratio <= factor => "reached",
                Some(_) => "MISSED",
            };
            let ratio = ratio.map_or(String::from("-"), |ratio| format!("{ratio:.2}"));
            let cells = [
                mine.0.to_owned(),
                other.0.to_owned(),
                mine.1.to_string(),
                ratio,
                format!("<= {factor:.2}"),
                verdict.to_owned(),
            ];
            table.add_row(cells);
        }
        println!("{table}");
    }

    /// The median of the ratios within rounds.
    fn ratio(&self, mine: Name, other: Name) -> Option<f64> {
        let of = |name| self.figures.iter().find(|figure| figure.name == name);
        let pairs = of(mine)?.cycles_per_item.iter().zip(&of(other)?.cycles_per_item);
        median(pairs.map(|(mine, other)| mine / other))
    }
}

fn row(figure: &Figure) -> Row {
    let values = || figure.cycles_per_item.iter().copied();
    Row {
        name: figure.name.0,
        burst: figure.name.1,
        cycles_per_item: median(values()),
        least: values().min_by(f64::total_cmp),
        windows: figure.cycles_per_item.len(),
        cpus: figure.cpus.clone(),
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The median, the upper middle value of an even number; `None` without values.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

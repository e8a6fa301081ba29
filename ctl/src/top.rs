//! `mpctl top`: lcores, queues, latency and incidents, drawn anew in each
//! interval.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::client::Client;
use super::incidents::line;
use super::report::{Latency, Lcore, Recent, Report, shares};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::latency::LatencyRow;
use mpfwd_common::text::{ranges, short, time};

/// How long latencies and incidents look back.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// Activities of lcores, in the order of their letters in the bar.
const ACTIVITIES: [&str; 5] = ["cheap", "expensive", "help", "poll", "idle"];
const BAR: [(char, Color); 5] = [
    ('c', Color::Green),
    ('e', Color::Red),
    ('h', Color::Yellow),
    ('.', Color::DarkGray),
    (' ', Color::DarkGray),
];
const BAR_WIDTH: usize = 16;

/// Rows of the lists that the terminal may have no room for.
const INCIDENTS_MIN: u16 = 3;
const QUEUES_MAX: usize = 8;

/// Reports of one mpfwd, a little more than `LOOK_BACK` of them.
struct Watched {
    /// Oldest first.
    reports: Vec<(Instant, Report)>,
    /// The first lcore that is shown.
    first: usize,
}

/// Draws until the user quits.
///
/// # Errors
/// No mpfwd answers at the start, or there is no terminal.
pub(super) fn watch(client: &Client, every: Duration) -> Result<()> {
    let mut watched = Watched { reports: Vec::new(), first: 0 };
    watched.look(client)?;
    let mut terminal = ratatui::try_init()
        .map_err(|error| Error::Setup(format!("top needs a terminal: {error}")))?;
    let outcome = draw_until_quit(&mut terminal, client, every, &mut watched);
    ratatui::restore();
    outcome
}

fn draw_until_quit(
    terminal: &mut ratatui::DefaultTerminal,
    client: &Client,
    every: Duration,
    watched: &mut Watched,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::Setup(format!("the terminal is gone: {error}"));
    loop {
        terminal.draw(|frame| watched.draw(frame)).map_err(failed)?;
        let next = Instant::now() + every;
        while let Some(left) = next.checked_duration_since(Instant::now())
            && event::poll(left).map_err(failed)?
        {
            if watched.quits(&event::read().map_err(failed)?) {
                return Ok(());
            }
            terminal.draw(|frame| watched.draw(frame)).map_err(failed)?;
        }
        watched.look(client)?;
    }
}

impl Watched {
    fn look(&mut self, client: &Client) -> Result<()> {
        let report = client.get_json("/report")?;
        self.push(Instant::now(), report);
        Ok(())
    }

    /// Keeps one report that is older than `LOOK_BACK`.
    fn push(&mut self, now: Instant, report: Report) {
        self.reports.push((now, report));
        while self.reports.len() > 2 && now - self.reports[1].0 >= LOOK_BACK {
            self.reports.remove(0);
        }
    }

    fn quits(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return false };
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind != KeyEventKind::Press => false,
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => is_control,
            KeyCode::Down | KeyCode::Char('j') => {
                let last = self.last().lcores.len().saturating_sub(1);
                self.first = (self.first + 1).min(last);
                false
            }
            KeyCode::Up | KeyCode::Char('k') => {
                self.first = self.first.saturating_sub(1);
                false
            }
            _ => false,
        }
    }

    fn last(&self) -> &Report {
        &self.reports[self.reports.len() - 1].1
    }

    /// The last two reports, and the time between them.
    fn interval(&self) -> (&Report, &Report, f64) {
        let (after_at, after) = &self.reports[self.reports.len() - 1];
        let (before_at, before) = &self.reports[self.reports.len().saturating_sub(2)];
        (before, after, (*after_at - *before_at).as_secs_f64())
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let (before, after, seconds) = self.interval();
        let height = usize::from(frame.area().height);
        let latency_rows = self.latencies().len();
        let queues: Vec<_> = after.queues.iter().filter(|queue| queue.direction == "rx").collect();
        let queue_rows = queues.len().min(QUEUES_MAX).min(height.saturating_sub(12));
        // Heading, rates, blank; heading of each list.
        let taken = 3 + 1 + latency_rows + 1 + queue_rows + 1 + usize::from(INCIDENTS_MIN);
        let lcore_rows = after.lcores.len().min(height.saturating_sub(taken + 1).max(1));
        let rows = [2, 1 + lcore_rows, 1 + latency_rows, 1 + queue_rows];
        let constraints = rows.map(|rows| Constraint::Length(rows as u16));
        let constraints = constraints.into_iter().chain([Constraint::Min(INCIDENTS_MIN)]);
        let [head, lcores, latency, queue_area, incidents] =
            Layout::vertical(constraints).areas(frame.area());
        frame.render_widget(Paragraph::new(heading(before, after, seconds)), head);
        self.draw_lcores(frame, lcores, lcore_rows);
        self.draw_latency(frame, latency);
        draw_queues(frame, queue_area, (before, after, seconds));
        draw_incidents(frame, incidents, after);
    }

    fn draw_lcores(&self, frame: &mut Frame<'_>, area: Rect, rows: usize) {
        let (before, after, seconds) = self.interval();
        let first = self.first.min(after.lcores.len().saturating_sub(rows));
        let row = |(before, after): (&Lcore, &Lcore)| {
            let shares = shares(before, after, ACTIVITIES);
            let rate = |count: fn(&Lcore) -> u64| per_second(count(before), count(after), seconds);
            let mut cells = vec![
                Line::from(after.lcore.to_string()),
                Line::from(after.pool.clone()),
                bar(shares),
            ];
            cells.extend(shares.map(|share| Line::from(format!("{:.0}%", share * 100.0))));
            cells.push(Line::from(rate(|lcore| lcore.rx_pkts)));
            cells.push(Line::from(rate(|lcore| lcore.shed_pkts)));
            cells.push(Line::from(rate(Lcore::dropped)));
            Row::new(cells)
        };
        let shown = before.lcores.iter().zip(&after.lcores).skip(first).take(rows).map(row);
        let more = after.lcores.len().saturating_sub(rows);
        let lcore = if more > 0 { format!("lcore +{more}") } else { "lcore".into() };
        let names = ["pool", "time", "cheap", "exp", "help", "poll", "idle", "rx/s", "shed/s"];
        let header = std::iter::once(lcore.as_str()).chain(names).chain(["drop/s"]);
        let widths = [8, 4, BAR_WIDTH as u16, 5, 4, 4, 4, 4, 7, 7, 6].map(Constraint::Length);
        let table = Table::new(shown, widths).header(Row::new(header).style(HEADER));
        frame.render_widget(table, area);
    }

    /// The latencies of the last seconds, by class.
    fn latencies(&self) -> Vec<(&'static str, Recent)> {
        let of = |report: &Report| report.latency.clone();
        let first = of(&self.reports[0].1);
        let Some((before, after)) = first.zip(of(self.last())) else { return Vec::new() };
        type Class = fn(&Latency) -> &LatencyRow;
        let classes: [(_, Class); 2] =
            [("cheap", |latency| &latency.cheap), ("expensive", |latency| &latency.expensive)];
        let recent = |(name, class): (&'static str, Class)| {
            Recent::between(class(&before), class(&after)).map(|recent| (name, recent))
        };
        classes.into_iter().filter_map(recent).collect()
    }

    fn draw_latency(&self, frame: &mut Frame<'_>, area: Rect) {
        let row = |(name, recent): (&str, Recent)| {
            let Recent { pkts, p50_ns, p99_ns, p999_ns } = recent;
            let times = [p50_ns, p99_ns, p999_ns].map(time);
            let cells = [name.to_owned(), short(pkts)].into_iter().chain(times);
            Row::new(cells.collect::<Vec<_>>())
        };
        let widths = [18, 12, 12, 12, 12].map(Constraint::Length);
        let title = format!("latency, last {} s", LOOK_BACK.as_secs());
        let header = [title.as_str(), "packets", "p50", "p99", "p99.9"];
        let table = Table::new(self.latencies().into_iter().map(row), widths)
            .header(Row::new(header).style(HEADER));
        frame.render_widget(table, area);
    }
}

const HEADER: Style = Style::new().add_modifier(Modifier::BOLD).add_modifier(Modifier::UNDERLINED);

fn per_second(before: u64, after: u64, seconds: f64) -> String {
    let rate = if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 };
    short(rate.round() as u64)
}

/// An lcore's activities: a letter per fourteenth of its time.
fn bar(shares: [f64; 5]) -> Line<'static> {
    let mut spans = vec![Span::raw("[")];
    let (mut sum, mut drawn) = (0.0, 0);
    for (share, (letter, color)) in shares.into_iter().zip(BAR) {
        sum += share;
        let end = (sum * (BAR_WIDTH - 2) as f64).round() as usize;
        let text = letter.to_string().repeat(end.saturating_sub(drawn));
        drawn = drawn.max(end);
        spans.push(Span::styled(text, Style::new().fg(color)));
    }
    spans.push(Span::raw(" ".repeat((BAR_WIDTH - 2).saturating_sub(drawn)) + "]"));
    Line::from(spans)
}

fn heading(before: &Report, after: &Report, seconds: f64) -> Vec<Line<'static>> {
    let pools = after.pools.as_ref().map_or(String::new(), |pools| format!(" {pools}"));
    let down = after.live.links_up.iter().filter(|up| !**up).count();
    let mut first = vec![Span::raw(format!(
        "mpfwd {}{pools}, {}, {:.0} s  ",
        after.mode, after.forward_mode, after.elapsed_s
    ))];
    let alarm = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    if after.live.draining {
        first.push(Span::styled("DRAINING  ", alarm));
    }
    if down > 0 {
        first.push(Span::styled(format!("{down} LINKS DOWN  "), alarm));
    }
    let rate = |count: fn(&Report) -> u64| per_second(count(before), count(after), seconds);
    let second = format!(
        "rx {}/s  tx {}/s  shed {}/s  dropped {}/s  mbufs free {} of {}",
        rate(|report| report.rx_pkts),
        rate(|report| report.tx_pkts),
        rate(|report| report.shed_pkts),
        rate(Report::dropped),
        short(after.mbufs_free),
        short(after.mbufs),
    );
    vec![Line::from(first), Line::from(second)]
}

/// Receive queues on the left, shards on the right.
fn draw_queues(frame: &mut Frame<'_>, area: Rect, interval: (&Report, &Report, f64)) {
    let (before, after, seconds) = interval;
    let [left, right] =
        Layout::horizontal([Constraint::Length(46), Constraint::Min(0)]).areas(area);
    let rows = before.queues.iter().zip(&after.queues);
    let rows = rows.filter(|(_, queue)| queue.direction == "rx").map(|(before, after)| {
        Row::new([
            after.port.to_string(),
            format!("rx {}", after.queue),
            ranges(&after.lcores),
            per_second(before.pkts, after.pkts, seconds),
        ])
    });
    let header = Row::new(["port", "queue", "polled by", "pkts/s"]).style(HEADER);
    let widths = [5, 8, 16, 10].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), left);
    let rows = after.live.shard_pkts.iter().enumerate();
    let rows = rows.map(|(shard, pkts)| Row::new([shard.to_string(), short(*pkts)]));
    let header = Row::new(["shard", "packets"]).style(HEADER);
    let widths = [6, 8].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), right);
}

/// The last ones, the newest first.
fn draw_incidents(frame: &mut Frame<'_>, area: Rect, report: &Report) {
    let mut lines = vec![Line::styled("incidents", HEADER)];
    lines.extend(report.incidents.iter().rev().map(|incident| Line::from(line(incident))));
    if report.incidents.is_empty() {
        lines.push(Line::from("none"));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    /// A report of so many lcores, after so many seconds.
    fn report(lcores: u32, seconds: u64) -> Report {
        let lcore = |lcore: u32| {
            json!({
                "lcore": lcore, "cpu": lcore, "main": lcore == 0, "pool": "A",
                "rx_pkts": seconds * 1_000_000, "tx_pkts": 0, "shed_pkts": 0, "taken_pkts": 0,
                "drops": {"tx_full": 0},
                "activity_ns": {
                    "poll": seconds * 250_000_000, "cheap": seconds * 500_000_000,
                    "expensive": seconds * 125_000_000, "help": 0,
                    "idle": seconds * 125_000_000,
                },
            })
        };
        let row = |buckets: [[u64; 2]; 2]| {
            json!({
                "pkts": 1, "mean_ns": 1, "p50_ns": 1, "p90_ns": 1, "p99_ns": 1, "p999_ns": 1,
                "p9999_ns": 1, "max_ns": 1, "buckets": buckets,
            })
        };
        let queue = |queue: u32| json!({"port": 0, "direction": "rx", "queue": queue, "lcores": [queue], "pkts": 0});
        let incident = |at: u64| {
            json!({
                "lcore": 1, "flow_hash": 0, "stage": "expensive", "started_ns": at * 1_000_000_000,
                "stuck_ns": 1_500_000, "kernel_ns": null, "returned": true,
                "rescued_after_ns": 21_000, "rescuers": [0], "stolen_pkts": 1, "polled_pkts": 31,
                "longest_wait_ns": 0, "saved_ns": 0,
            })
        };
        let report = json!({
            "mode": "hybrid", "pools": "8:2", "forward_mode": "io", "elapsed_s": seconds,
            "rx_pkts": seconds * 10_000_000, "tx_pkts": 0, "shed_pkts": 0, "drops": {},
            "mbufs": 32_767, "mbufs_free": 30_000,
            "latency": {
                "source": "software",
                "cheap": row([[1_000, 1_000 * seconds], [20_000, 10 * seconds]]),
                "expensive": row([[100_000, seconds], [900_000, 0]]),
            },
            "lcores": (0..lcores).map(lcore).collect::<Vec<_>>(),
            "queues": (0..lcores).map(queue).collect::<Vec<_>>(),
            "ports": [{
                "port": 0, "name": "net_null0", "lost": null,
                "device": {"imissed": 0, "rx_nombuf": 0},
            }],
            "incidents": (1..9).map(incident).collect::<Vec<_>>(),
            "live": {"draining": false, "shard_pkts": [0, 7], "links_up": [true]},
        });
        serde_json::from_value(report).expect("a report")
    }

    fn drawn(watched: &Watched, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| watched.draw(frame)).expect("it is drawn");
        let buffer = terminal.backend().buffer();
        let line =
            |row| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
        (0..height).map(|row| line(row).trim_end().to_owned()).collect()
    }

    fn watched(lcores: u32, seconds: &[u64]) -> Watched {
        let start = Instant::now();
        let mut watched = Watched { reports: Vec::new(), first: 0 };
        for &at in seconds {
            watched.push(start + Duration::from_secs(at), report(lcores, at));
        }
        watched
    }

    #[test]
    fn a_small_terminal_shows_some_of_everything() {
        for lcores in [1, 2, 10, 64] {
            let lines = drawn(&watched(lcores, &[10, 11, 12]), 80, 24);
            let text = lines.join("\n");
            let has = |what: &str| assert!(text.contains(what), "{lcores}: {what}\n{text}");
            ["mpfwd hybrid 8:2, io, 12 s", "rx 10.0 M/s", "[ccccccc", "50%"]
                .into_iter()
                .for_each(has);
            ["latency, last 5 s", "20.0 us", "polled by", "rx 0", "incidents"]
                .into_iter()
                .for_each(has);
            has("8.000 s  lcore 1 expensive 1.50 ms, rescued +21.0 us by 0, 32 packets");
        }
    }

    #[test]
    fn lcores_that_find_no_room_are_scrolled_to() {
        let mut watched = watched(64, &[10, 11]);
        let first =
            |watched: &Watched| drawn(watched, 80, 24)[3].split(' ').next().map(str::to_owned);
        assert_eq!(first(&watched).as_deref(), Some("0"));
        let down = Event::Key(KeyCode::Down.into());
        (0..3).for_each(|_| assert!(!watched.quits(&down)));
        assert_eq!(first(&watched).as_deref(), Some("3"));
        (0..100).for_each(|_| assert!(!watched.quits(&down)));
        assert!(drawn(&watched, 80, 24).iter().any(|line| line.starts_with("63 ")));
        assert!(watched.quits(&Event::Key(KeyCode::Char('q').into())));
    }

    #[test]
    fn latencies_are_of_the_last_seconds() {
        let mut seconds: Vec<u64> = (0..30).collect();
        let watched = watched(2, &seconds);
        assert_eq!(watched.reports.len(), 6, "one of them is five seconds old");
        assert_eq!(watched.latencies()[0].1.pkts, 5 * 1_010);
        seconds.truncate(1);
        assert!(super::tests::watched(2, &seconds).latencies().is_empty());
    }

    #[test]
    fn tiny_terminals_are_drawn_too() {
        for (width, height) in [(1, 1), (20, 5), (80, 10), (300, 100)] {
            drawn(&watched(64, &[10, 11]), width, height);
        }
    }
}

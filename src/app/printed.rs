//! The start map: which lcore polls, sheds, serves and sends what, printed
//! before the first packet.

use super::source::Sources;
use super::stamping;
use crate::cli::Cli;
use crate::config::{LcorePlan, Plan, PortPlan};
use crate::dpdk::Port;
use mpfwd_common::output::{say, warn};
use mpfwd_common::text::ranges;

/// Columns of a line.
const WIDTH: usize = 100;

/// Prints warnings and the map. `does`: the engines' name.
pub(super) fn map(plan: &Plan, cli: &Cli, does: &str, ports: &[Port], sources: Option<&Sources>) {
    plan.warnings.iter().for_each(warn);
    let auto = if plan.scheduling.follows_load { " auto, from" } else { "" };
    let pools = plan.pools.map_or(String::new(), |pools| format!("{auto} {pools}"));
    let mbufs = match plan.placement.pools.len() {
        0 | 1 => plan.mbufs.to_string(),
        pools => format!("{pools} x {}", plan.mbufs),
    };
    say(format_args!(
        "mpfwd {}, DPDK {} ({}): mode {}{pools}, forward-mode {does}, burst {}, {mbufs} mbufs",
        env!("CARGO_PKG_VERSION"),
        env!("MPFWD_DPDK_VERSION"),
        env!("MPFWD_DPDK_LINK"),
        plan.scheduling.mode.name(),
        cli.burst,
    ));
    let on_sockets = plan.spans_sockets();
    for (plan, port) in plan.ports.iter().zip(ports) {
        say(port_line(plan, port, on_sockets));
    }
    if let Some(stamps) = stamping::line(plan) {
        say(folded("stamps", [stamps]));
    }
    for lcore in &plan.lcores {
        say(lcore_line(lcore, plan));
    }
    if let Some(sources) = sources {
        say(folded("source", sources.described()));
    }
}

/// The warning about lcores that outnumber their CPUs.
pub(super) fn crowded(lcores: &[u32], cpus: &[u32]) -> String {
    format!(
        "lcores {} share CPU{} {}: write --idle yield, or each waits whole time slices for the others",
        ranges(lcores),
        if cpus.len() == 1 { "" } else { "s" },
        ranges(cpus)
    )
}

fn port_line(plan: &PortPlan, port: &Port, on_sockets: bool) -> String {
    let (rxd, txd) = port.descriptors();
    let socket = plan.info.socket.filter(|_| on_sockets);
    let fields = [plan.info.name.clone(), plan.info.mac.to_string()].into_iter();
    let fields = fields.chain(socket.map(|socket| format!("socket {socket}"))).chain([
        format!("rx {} x {rxd}", plan.rxq),
        format!("tx {} x {txd}", plan.txq_users.len()),
        format!("to port {}", plan.out),
        if port.link_is_up() { "link up" } else { "LINK DOWN" }.to_owned(),
    ]);
    folded(&format!("port {}", plan.info.id), fields)
}

fn lcore_line(lcore: &LcorePlan, plan: &Plan) -> String {
    let main = if lcore.lcore.main { " (main)" } else { "" };
    let width = |number: fn(&LcorePlan) -> u32| {
        plan.lcores.iter().map(|lcore| number(lcore).to_string().len()).max().unwrap_or_default()
    };
    let (ids, cpus) = (width(|lcore| lcore.lcore.id), width(|lcore| lcore.lcore.cpu));
    let mut fields = vec![
        format!("cpu {:<cpus$}", lcore.lcore.cpu),
        format!("{:<13}", format!("pool {:?}{main}", lcore.pool)),
    ];
    if plan.spans_sockets() {
        fields.insert(1, format!("socket {}", lcore.lcore.socket));
    }
    if !lcore.rx.is_empty() {
        fields.push(format!("polls {}", queues(&lcore.rx, |_| false)));
    }
    fields.extend(lcore.shard.map(|shard| format!("sheds to shard {shard}")));
    if lcore.takes {
        fields.push(match plan.shards {
            1 => "serves 1 shard".to_owned(),
            shards => format!("serves {shards} shards"),
        });
    }
    let is_shared = |(id, queue): (u16, u16)| {
        let mut ports = plan.ports.iter().filter(|port| port.info.id == id);
        ports.any(|port| port.txq_users[usize::from(queue)] > 1)
    };
    fields.push(format!("sends on {}", queues(&lcore.tx_queue, is_shared)));
    folded(&format!("lcore {:<ids$}", lcore.lcore.id), fields)
}

/// `PORT:QUEUE` of each. Those with several users are marked.
fn queues(queues: &[(u16, u16)], is_shared: impl Fn((u16, u16)) -> bool) -> String {
    let text = |&(port, queue): &(u16, u16)| {
        format!("{port}:{queue}{}", if is_shared((port, queue)) { "(shared)" } else { "" })
    };
    queues.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// A label and its fields, two spaces apart. Where a line is full, the next one
/// continues below the first field.
fn folded(label: &str, fields: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("  {label:<7}");
    let indent = text.chars().count() + 2;
    let mut column = indent - 2;
    let mut put = |text: &mut String, word: &str, gap: usize, width: usize| {
        if column + gap + width > WIDTH {
            text.truncate(text.trim_end().len());
            *text += &format!("\n{:indent$}", "");
            column = indent;
        } else {
            *text += &" ".repeat(gap);
            column += gap;
        }
        *text += word;
        column += word.chars().count();
    };
    for field in fields {
        if indent + field.chars().count() <= WIDTH {
            put(&mut text, &field, 2, field.trim_end().chars().count());
            continue;
        }
        for (at, word) in field.split_inclusive(' ').enumerate() {
            put(&mut text, word, if at == 0 { 2 } else { 0 }, word.trim_end().chars().count());
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn fields_are_aligned_and_full_lines_continue_below_the_first() {
        let short = folded("lcore 0", ["cpu 0 ".to_owned(), "polls 0:0 1:0".to_owned()]);
        assert_eq!(short, "  lcore 0  cpu 0   polls 0:0 1:0");
        let queues = (0..64).map(|queue| format!("0:{queue}")).collect::<Vec<_>>().join(" ");
        let long = folded("lcore 0", ["cpu 0".to_owned(), format!("polls {queues}")]);
        let lines: Vec<&str> = long.lines().collect();
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= 100), "{long}");
        assert!(lines[1].starts_with("           0:"), "{long}");
        assert_eq!(long.split_whitespace().count(), 4 + 1 + 64, "{long}");
        let whole = folded("source", ["x".repeat(80), "9 packets/s".to_owned()]);
        assert_eq!(whole.lines().last(), Some("           9 packets/s"));
    }
}

//! Watching ports: changes of links, and ports that are lost.

use super::Control;
use crate::dpdk::{Port, PortView};
use crate::stats::{LinkChange, LostAt, PortLog, run_time};
use mpfwd_common::output::warn;

/// One port, as control watches it.
#[derive(Default)]
struct Watched {
    log: PortLog,
    closed: bool,
}

/// All ports, in their order.
pub struct WatchedPorts(Vec<Watched>);

impl WatchedPorts {
    pub fn new(ports: usize) -> Self {
        Self((0..ports).map(|_| Watched::default()).collect())
    }

    /// The history of the ports, in their order.
    pub fn logs(&self) -> impl Iterator<Item = &PortLog> {
        self.0.iter().map(|watched| &watched.log)
    }
}

impl Control<'_> {
    /// Logs what drivers have reported since the last call, and closes ports
    /// that are lost, as soon as no lcore uses them any more.
    pub(super) fn look_at_ports(&self, watched: &mut WatchedPorts) {
        for (port, watched) in self.ports.iter().zip(&mut watched.0) {
            let PortView { link_up, loss, changed_ticks } = port.view();
            let at_ns = self.since_start_ns(changed_ticks);
            let Some(loss) = loss else {
                let change = LinkChange { at_ns, up: link_up };
                if watched.log.note_link(port.link_changes(), change) {
                    let state = if link_up { "up" } else { "down" };
                    self.tell(port, &format!("link {state} at {}", run_time(at_ns)));
                }
                continue;
            };
            let why = loss.name();
            if watched.log.note_loss(LostAt { at_ns, why }) {
                let at = run_time(at_ns);
                self.tell(port, &format!("{why} at {at}: it is closed, all others go on"));
                self.run.call();
            }
            watched.closed = watched.closed || port.close_if_left(self.rxqs);
        }
    }

    fn tell(&self, port: &Port, what: &str) {
        let (id, name) = (port.id(), port.name());
        warn(format_args!("port {id} ({name}): {what}"));
    }

    /// A time of the time stamp counter, from the start of the run.
    fn since_start_ns(&self, ticks: u64) -> u64 {
        let start = self.incidents.run_start_ticks;
        self.incidents.rate.ns(ticks.saturating_sub(start))
    }
}

//! Control's answers to the API's requests.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Answer, Ask, Call};
use super::drain::{BELOW_PPS, DrainFor};
use super::metrics::exposition;
use super::moment::{Moment, Seen};
use super::reload::Reloaded;
use super::signs::SignsOfLife;
use super::steering::Steering;
use super::{Control, FollowedClocks, Reader, WatchedPorts};
use crate::stats::Report;
use mpfwd_common::args::parse_time;

/// An lcore that has not finished a step for so long is no longer alive.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Questions of health may take one part in so many of control's time, and all
/// other requests as much: on a small machine control shares a CPU with an
/// lcore.
const SHARE_OF_TIME: u32 = 10;

/// Time of `POST /drain` where the request names none.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// Makes the report of a run that goes on.
pub type LiveReport<'a> = dyn Fn(&Moment<'_>) -> Report + Sync + 'a;

/// Receives requests, and answers them.
pub struct Desk<'a> {
    calls: Receiver<Call>,
    /// Requests that wait for their turn, oldest first.
    waiting: Vec<Call>,
    /// The configuration of the run.
    config: Value,
    report: &'a LiveReport<'a>,
    seen: Seen<'a>,
    /// Reads files again.
    reader: Reader,
    signs: SignsOfLife,
    /// When the next question of health and the next other request are answered
    /// at the earliest: the last ones took long.
    next_at: [Instant; 2],
}

/// What control has, of which answers are made.
pub(super) struct State<'m> {
    pub followed: &'m FollowedClocks,
    pub watched: &'m WatchedPorts,
    pub start: Instant,
    pub elapsed: Duration,
    pub is_draining: bool,
}

impl<'m> State<'m> {
    fn moment(&self, steering: &'m Steering<'_>) -> Moment<'m> {
        Moment {
            followed: self.followed,
            watched: self.watched,
            mode: steering.mode(),
            pool_changes: steering.pool_changes(),
            changes: steering.counts(),
            lcores_behind: steering.lcores_behind(),
            elapsed: self.elapsed,
            is_draining: self.is_draining,
        }
    }
}

/// Actions that requests cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Drain(DrainFor),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    time: Option<String>,
    below_pps: Option<u64>,
}

impl<'a> Desk<'a> {
    pub fn new(
        calls: Receiver<Call>,
        config: Value,
        report: &'a LiveReport<'a>,
        seen: Seen<'a>,
        reader: Reader,
    ) -> Self {
        let signs = SignsOfLife::default();
        let (waiting, next_at) = (Vec::new(), [Instant::now(); 2]);
        Self { calls, waiting, config, report, seen, reader, signs, next_at }
    }

    /// The time until the next answer, or `time` if that is shorter.
    pub(super) fn wait_at_most(&self, time: Duration) -> Duration {
        let now = Instant::now();
        let until = |call: &Call| self.next_at_of(call).saturating_duration_since(now);
        self.waiting.iter().map(until).min().map_or(time, |until| time.min(until))
    }

    fn next_at_of(&self, call: &Call) -> Instant {
        self.next_at[usize::from(!call.request.ask.is_of_health())]
    }

    /// Answers at most one request, and questions of health first: a client that
    /// asks for reports all the time delays no question of health. Returns what it leads to.
    pub(super) fn answer_one(
        &mut self,
        control: &Control<'_>,
        steering: &mut Steering<'_>,
        state: State<'_>,
    ) -> Option<Order> {
        if self.seen.telemetry.was_asked() {
            control.run.meter();
        }
        self.waiting.extend(self.calls.try_iter());
        self.waiting.retain(|call| !call.is_given_up());
        let start = Instant::now();
        let is_due = |call: &Call| self.next_at_of(call) <= start;
        let health = |call: &Call| call.request.ask.is_of_health() && is_due(call);
        let at = self.waiting.iter().position(health);
        let at = at.or_else(|| self.waiting.iter().position(is_due))?;
        let call = self.waiting.remove(at);
        control.run.meter();
        let kind = usize::from(!call.request.ask.is_of_health());
        let order = self.answer(call, control, steering, state);
        let end = Instant::now();
        self.next_at[kind] = end + (end - start) * (SHARE_OF_TIME - 1);
        order
    }

    fn answer(
        &mut self,
        call: Call,
        control: &Control<'_>,
        steering: &mut Steering<'_>,
        state: State<'_>,
    ) -> Option<Order> {
        let request = &call.request;
        let moment = state.moment(steering);
        let answer = match request.ask {
            Ask::Metrics => {
                let owns = |lcore, queue| steering.owns(lcore, queue);
                exposition(control, &moment, &self.seen, owns, request.wants_open_metrics)
            }
            Ask::Live => self.live(control),
            Ask::Ready => self.ready(control, &moment),
            Ask::Report => Answer::json(StatusCode::OK, &(self.report)(&moment)),
            Ask::Incidents => {
                Answer::json(StatusCode::OK, &json!({ "incidents": control.incidents.read() }))
            }
            Ask::Config => {
                let mut config = self.config.clone();
                steering.show(&mut config);
                config["rereads"] = self.reader.what.map(Reloaded::name).into();
                Answer::json(StatusCode::OK, &config)
            }
            Ask::Drain => match drain_for(&request.body) {
                Ok(drain) => {
                    call.reply(drain_answer(drain));
                    return Some(Order::Drain(drain));
                }
                Err(why) => Answer::error(StatusCode::BAD_REQUEST, why),
            },
            Ask::Routes => return self.read_again(call, Reloaded::Routes, steering),
            Ask::Rules => return self.read_again(call, Reloaded::Rules, steering),
            Ask::Pools | Ask::Mode | Ask::ExpensiveCap | Ask::RescueAfter | Ask::Queues => {
                let (ask, start) = (request.ask, state.start);
                drop(moment);
                steering.answer(ask, &request.body, start)
            }
        };
        call.reply(answer);
        None
    }

    /// Has a file read again, if the run has read one of that kind.
    fn read_again(&self, call: Call, what: Reloaded, steering: &mut Steering<'_>) -> Option<Order> {
        if self.reader.what == Some(what) {
            steering.count(what.name());
            self.reader.read(call);
        } else {
            let why = format!("the run has no --{}", what.name());
            call.reply(Answer::error(StatusCode::CONFLICT, why));
        }
        None
    }

    fn live(&mut self, control: &Control<'_>) -> Answer {
        verdict("live", self.silent(control))
    }

    fn ready(&mut self, control: &Control<'_>, moment: &Moment<'_>) -> Answer {
        let mut reasons = self.silent(control);
        reasons.extend(moment.is_draining.then(|| "draining".to_owned()));
        for port in control.ports {
            let view = port.view();
            let state = match view.loss {
                Some(loss) => loss.name(),
                None if !view.link_up => "link down",
                None => continue,
            };
            reasons.push(format!("port {} ({}): {state}", port.id(), port.name()));
        }
        verdict("ready", reasons)
    }

    /// Lcores that have not been seen to run for long, in words.
    fn silent(&mut self, control: &Control<'_>) -> Vec<String> {
        let now = Instant::now();
        self.signs.look(control.stats.iter().map(|lcore| lcore.activity_ticks.all()), now);
        let silent = self.signs.silent(now, SILENT_AFTER);
        silent
            .map(|(at, time)| {
                let id = control.incidents.lcore_ids.get(at).copied().unwrap_or_default();
                format!("lcore {id}: silent for {} s", time.as_secs())
            })
            .collect()
    }
}

/// 200 without reasons against it, else 503.
fn verdict(what: &str, reasons: Vec<String>) -> Answer {
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Answer::json(status, &json!({ what: reasons.is_empty(), "reasons": reasons }))
}

fn drain_answer(drain: DrainFor) -> Answer {
    let (time_ns, below_pps) = (drain.time.as_nanos() as u64, drain.below_pps);
    let body = json!({ "draining": true, "time_ns": time_ns, "below_pps": below_pps });
    Answer::json(StatusCode::ACCEPTED, &body)
}

fn drain_for(body: &[u8]) -> Result<DrainFor, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    let body: DrainBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let time = body.time.map(|time| parse_time(&time).map_err(|why| format!("time: {why}")));
    Ok(DrainFor {
        time: time.transpose()?.unwrap_or(DRAIN_TIME),
        below_pps: body.below_pps.unwrap_or(BELOW_PPS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_described_by_its_body() {
        let drain = |secs, below_pps| Ok(DrainFor { time: Duration::from_secs(secs), below_pps });
        for (body, expected) in [
            ("", drain(30, BELOW_PPS)),
            ("{}", drain(30, BELOW_PPS)),
            (r#"{"time":"2min","below_pps":0}"#, drain(120, 0)),
        ] {
            assert_eq!(drain_for(body.as_bytes()), expected, "{body}");
        }
        for body in ["[]", "x", r#"{"time":3}"#, r#"{"time":"3"}"#, r#"{"tine":"3s"}"#, "{}{}"] {
            let why = drain_for(body.as_bytes()).expect_err(body);
            assert!(!why.is_empty() && !why.contains('\n'), "{body}: {why}");
        }
    }
}

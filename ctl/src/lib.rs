//! Watches and steers a running mpfwd by its control socket. Links no DPDK.
//!
//! * `args`: the command line
//! * `change`: what is changed while mpfwd runs
//! * `client`: requests and answers
//! * `report`: the parts of the report that are shown, and the difference of two
//! * `status`, `incidents`, `top`: what is shown
#![forbid(unsafe_code)]

mod args;
mod change;
mod client;
mod incidents;
mod report;
mod status;
mod top;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as DisplayHelpOnMissing;
use clap::{CommandFactory, Parser};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use args::{Args, Command};
use client::{Answer, Client};
use mpfwd_common::args::{in_utf8, one_line};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{print, say};

/// Interval at which `drain --wait` asks whether mpfwd is still there.
const WAIT_EVERY: Duration = Duration::from_millis(100);

/// mpfwd is not ready.
const NOT_READY: u8 = 1;

#[derive(Deserialize)]
struct Ready {
    reasons: Vec<String>,
}

/// Runs the program with the whole command line, its name first.
///
/// # Errors
/// Bad input, or no mpfwd answers.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let args = match Args::try_parse_from(in_utf8(args)?) {
        Ok(args) => args,
        Err(error) if !error.use_stderr() || error.kind() == DisplayHelpOnMissing => {
            print(error.render());
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(Error::Usage(one_line(&error.to_string()))),
    };
    if let Command::Generate { what } = args.command {
        print(what.of(Args::command(), 1));
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::new(args.api.as_ref(), args.file_prefix.as_deref())?;
    match args.command {
        Command::Status { json } => return status(&client, json),
        Command::Top { every } => top::watch(&client, every)?,
        Command::Drain { time, below_pps, wait } => drain(&client, time, below_pps, wait)?,
        Command::Pools { pools, answer } => {
            change::ask(&client, "pools", &json!({ "pools": pools }), answer.json)?;
        }
        Command::Mode { mode, pools, answer } => {
            let mut body = json!({ "mode": mode });
            pools.into_iter().for_each(|pools| body["pools"] = pools.into());
            change::ask(&client, "mode", &body, answer.json)?;
        }
        Command::Cap { lcores, answer } => {
            let body = json!({ "expensive_cap": lcores });
            change::ask(&client, "expensive-cap", &body, answer.json)?;
        }
        Command::RescueAfter { time, answer } => {
            let body = json!({ "rescue_after": format!("{}ns", time.as_nanos()) });
            change::ask(&client, "rescue-after", &body, answer.json)?;
        }
        Command::Queues { map, answer } => {
            change::ask(&client, "queues", &change::queues(&map), answer.json)?;
        }
        Command::Reload => change::reload(&client)?,
        Command::Incidents { follow, json } => incidents::show(&client, follow, json)?,
        Command::Metrics => print(String::from_utf8_lossy(&client.get("/metrics")?)),
        Command::Config => {
            let config: Value = client.get_json("/config")?;
            say(serde_json::to_string_pretty(&config).unwrap_or_default());
        }
        Command::Generate { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn status(client: &Client, json: bool) -> Result<ExitCode> {
    let Answer { body, .. } = client.ask(Method::GET, "/readyz", String::new())?;
    let Ready { reasons } = client::read(&body)?;
    let code = if reasons.is_empty() { 0 } else { NOT_READY };
    if json {
        let report: Value = client.get_json("/report")?;
        let status = json!({ "ready": reasons.is_empty(), "reasons": reasons, "report": report });
        say(serde_json::to_string_pretty(&status).unwrap_or_default());
    } else {
        print(status::text(&client.get_json("/report")?, &reasons));
    }
    Ok(ExitCode::from(code))
}

fn drain(client: &Client, time: Duration, below_pps: u64, wait: bool) -> Result<()> {
    let body = json!({ "time": format!("{}ns", time.as_nanos()), "below_pps": below_pps });
    let Answer { status, body } = client.ask(Method::POST, "/drain", body.to_string())?;
    if status != StatusCode::ACCEPTED {
        return Err(Error::Setup(format!("{}: {}", client.endpoint(), client::text_of(&body))));
    }
    while wait && client.ask(Method::GET, "/livez", String::new()).is_ok() {
        std::thread::sleep(WAIT_EVERY);
    }
    Ok(())
}

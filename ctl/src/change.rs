//! What is changed while mpfwd runs.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{self, Answer, Client};
use mpfwd_common::args::QueueMap;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::say;
use mpfwd_common::text::time;

#[derive(Deserialize)]
struct Changed {
    was: Value,
    is: Value,
    lcores_behind: usize,
}

#[derive(Deserialize)]
struct Config {
    rereads: Option<String>,
}

/// Asks for the change, and says what it has changed.
///
/// # Errors
/// It is refused, or there is no answer.
pub(super) fn ask(client: &Client, what: &str, body: &Value, json: bool) -> Result<()> {
    let answer = post(client, what, body.to_string())?;
    if json {
        say(String::from_utf8_lossy(&answer.body));
        return Ok(());
    }
    let Changed { was, is, lcores_behind } = client::read(&answer.body)?;
    say(format_args!("{what}: {} -> {}", text(what, &was), text(what, &is)));
    if lcores_behind > 0 {
        say(format_args!("{lcores_behind} lcores follow at their next step"));
    }
    Ok(())
}

/// Has the file read that mpfwd can read again.
///
/// # Errors
/// It has none, or that has a mistake.
pub(super) fn reload(client: &Client) -> Result<()> {
    let Config { rereads } = client.get_json("/config")?;
    let Some(what) = rereads else {
        let endpoint = client.endpoint();
        return Err(Error::Setup(format!("{endpoint}: there is neither --routes nor --rules")));
    };
    let answer = post(client, &what, String::new())?;
    let answer: Value = client::read(&answer.body)?;
    say(answer["is"].as_str().unwrap_or_default());
    Ok(())
}

fn post(client: &Client, what: &str, body: String) -> Result<Answer> {
    let answer = client.ask(Method::POST, &format!("/{what}"), body)?;
    match answer.status {
        StatusCode::OK => Ok(answer),
        _ => Err(Error::Setup(format!("{}: {}", client.endpoint(), client::text_of(&answer.body)))),
    }
}

/// The body of a request for these queues.
pub(super) fn queues(map: &QueueMap) -> Value {
    let row = |of: &mpfwd_common::args::QueueOf| json!({ "port": of.port, "queue": of.queue, "lcore": of.lcore });
    json!({ "queues": map.0.iter().map(row).collect::<Vec<_>>() })
}

/// A value of an answer, for people.
fn text(what: &str, value: &Value) -> String {
    let number = |key: &str, row: &Value| row[key].as_u64().unwrap_or_default();
    match value {
        Value::String(text) => text.clone(),
        Value::Array(rows) => {
            let row = |row: &Value| {
                let [port, queue, lcore] = ["port", "queue", "lcore"].map(|key| number(key, row));
                format!("({port},{queue},{lcore})")
            };
            rows.iter().map(row).collect::<Vec<_>>().join(",")
        }
        value if what == "rescue-after" => time(value.as_u64().unwrap_or_default()),
        value => value.to_string(),
    }
}

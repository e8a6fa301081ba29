//! An argument with its values: as words of a command line, and as it is
//! written in a file.

use clap::{Arg, ArgAction};
use toml_edit::Value;

use super::eal_table::{Takes, dashed, eal_argument, is_word_of};

/// The table of EAL's arguments in the file.
pub(super) const EAL_TABLE: &str = "eal";

/// Arguments that have no place in a file.
pub(super) const NOT_IN_FILES: [&str; 5] =
    ["config-file", "check-args", "generate", "help", "version"];

/// Where an argument was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line and a column, from 1.
    File(usize, usize),
    /// A variable.
    Environment(String),
    CommandLine,
    Default,
}

/// An argument, with all its values.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub is_eals: bool,
    /// Without dashes.
    pub name: String,
    pub values: Vec<String>,
    pub is_flag: bool,
    pub origin: Origin,
}

impl Setting {
    pub(super) fn words(&self) -> Vec<String> {
        let name = dashed(&self.name);
        if self.is_flag {
            return vec![name];
        }
        let word = |value: &String| match self.is_eals {
            // A value that starts with a dash would be an argument.
            false => vec![format!("{name}={value}")],
            true => vec![name.clone(), value.clone()],
        };
        self.values.iter().flat_map(word).collect()
    }
}

/// The names that replace each other.
pub(super) fn family(name: &str) -> Option<&'static [&'static str]> {
    eal_argument(name).map(|row| row.names)
}

pub(super) fn takes(argument: &Arg) -> Takes {
    match argument.get_action() {
        ArgAction::SetTrue => Takes::Nothing,
        ArgAction::Append => Takes::Many,
        _ => Takes::One,
    }
}

/// Whether the command line has the argument, by any of its names.
pub(super) fn is_given(setting: &Setting, eal_args: &[String], own_args: &[String]) -> bool {
    let has = |args: &[String], name: &str| args.iter().any(|word| is_word_of(word, name));
    match setting.is_eals {
        true => match family(&setting.name) {
            Some(names) => names.iter().any(|name| has(&eal_args[eal_args.len().min(1)..], name)),
            None => false,
        },
        false => {
            has(own_args, &setting.name) || setting.name == "promiscuous" && has(own_args, "P")
        }
    }
}

/// The argument as it stands on the command line.
pub(super) fn on_line(
    is_eals: bool,
    name: &str,
    takes: Takes,
    words: &[String],
) -> Option<Setting> {
    let dashed = dashed(name);
    let value = |(at, word): (usize, &String)| {
        let is_short_promiscuous = name == "promiscuous" && word == "-P";
        if !is_word_of(word, name) && !is_short_promiscuous {
            return None;
        }
        let rest = word.strip_prefix(&dashed).unwrap_or_default();
        let rest = rest.strip_prefix('=').unwrap_or(rest);
        match (takes, rest) {
            (Takes::Nothing, _) => Some(String::new()),
            (_, "") => words.get(at + 1).cloned(),
            (_, rest) => Some(rest.to_owned()),
        }
    };
    let values: Vec<String> = words.iter().enumerate().filter_map(value).collect();
    let (is_flag, origin, name) = (takes == Takes::Nothing, Origin::CommandLine, name.to_owned());
    (!values.is_empty()).then_some(Setting { is_eals, name, values, is_flag, origin })
}

/// The values as words; none for a flag that is off.
pub(super) fn values(value: &Value, takes: Takes) -> std::result::Result<Vec<String>, String> {
    match (takes, value) {
        (Takes::Nothing, Value::Boolean(on)) => {
            Ok(if *on.value() { Vec::from([String::new()]) } else { Vec::new() })
        }
        (Takes::Nothing, _) => Err("write true or false".into()),
        (Takes::Many, Value::Array(list)) => list.iter().map(word).collect(),
        (Takes::One, Value::Array(_)) => Err("it takes one value, not a list".into()),
        (Takes::One | Takes::Many, value) => Ok(Vec::from([word(value)?])),
    }
}

pub(super) fn word(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.value().clone()),
        Value::Integer(number) => Ok(number.value().to_string()),
        Value::Float(number) => Ok(number.value().to_string()),
        _ => Err("write a number or a text in quotes".into()),
    }
}

/// As it is written in a file.
pub(super) fn literal(setting: &Setting) -> String {
    if setting.is_flag {
        return "true".into();
    }
    let quoted = |value: &String| match value.parse::<i64>() {
        Ok(_) => value.clone(),
        Err(_) => Value::from(value.as_str()).to_string().trim().to_owned(),
    };
    match setting.values.as_slice() {
        [one] => quoted(one),
        many => format!("[{}]", many.iter().map(quoted).collect::<Vec<_>>().join(", ")),
    }
}

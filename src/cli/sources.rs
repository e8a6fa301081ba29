//! Where arguments come from: the file of `--config-file`, the environment, the
//! command line. A later one replaces an argument of an earlier one as a whole.
//! All of them end as the words of one command line, so that each argument has
//! one syntax and one check.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use toml_edit::{Document, Item, Table, Value};

use super::eal_table::{EAL, EalArgument, Takes, dashed, eal_argument, is_word_of};
use super::setting::{
    EAL_TABLE, NOT_IN_FILES, Origin, Setting, family, is_given, literal, on_line, takes, values,
};
use super::{Cli, one_line};
use mpfwd_common::error::{Error, Result};

/// The arguments of all sources.
pub struct Merged {
    file: Option<PathBuf>,
    settings: Vec<Setting>,
    eal_words: Vec<String>,
    own_words: Vec<String>,
    /// Mistakes in the file and in the environment, in order.
    pub mistakes: Vec<String>,
}

impl Merged {
    /// Reads the file and the environment. `eal_args` begins with the program's
    /// name.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn new(file: Option<&Path>, eal_args: &[String], own_args: &[String]) -> Result<Self> {
        let mut merged = Self {
            file: file.map(Path::to_owned),
            settings: Vec::new(),
            eal_words: eal_args.to_vec(),
            own_words: own_args.to_vec(),
            mistakes: Vec::new(),
        };
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Error::Usage(format!("--config-file {}: {error}", path.display()))
            })?;
            merged.read_file(&text);
        }
        merged.read_environment(|name| std::env::var(name).ok());
        merged.settings.retain(|setting| !is_given(setting, eal_args, own_args));
        Ok(merged)
    }

    /// All arguments of EAL, and all others.
    pub fn words(&self) -> (Vec<String>, Vec<String>) {
        let of = |eals: bool| {
            let settings = self.settings.iter().filter(move |setting| setting.is_eals == eals);
            settings.flat_map(Setting::words).collect::<Vec<_>>()
        };
        // EAL's own words begin with the program's name.
        let (program, rest) = self.eal_words.split_at(self.eal_words.len().min(1));
        ([program, &of(true), rest].concat(), [of(false), self.own_words.clone()].concat())
    }

    /// The message with the place of the argument that it is about, if it is
    /// about one of the file.
    pub fn placed(&self, message: &str) -> String {
        let Some(file) = &self.file else { return message.to_owned() };
        let is_named = |setting: &&Setting| {
            message.split([' ', ':', ',', ';']).any(|word| is_word_of(word, &setting.name))
        };
        let place = self.settings.iter().find(is_named).map(|setting| &setting.origin);
        match place {
            Some(Origin::File(line, column)) => {
                format!("{}:{line}:{column}: {message}", file.display())
            }
            _ => format!("{}: {message}", file.display()),
        }
    }

    fn mistake(&mut self, at: (usize, usize), message: &str) {
        let file = self.file.as_deref().unwrap_or(Path::new("")).display();
        self.mistakes.push(format!("{file}:{}:{}: {message}", at.0, at.1));
    }

    fn read_file(&mut self, text: &str) {
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let at = position(text, error.span().map_or(0, |span| span.start));
                return self.mistake(at, &one_line(error.message()));
            }
        };
        for (name, _) in document.iter() {
            let Some((key, item)) = document.get_key_value(name) else { continue };
            let at = position(text, key.span().map_or(0, |span| span.start));
            match item {
                Item::Table(table) if name == EAL_TABLE => self.read_eal(text, table),
                Item::Value(value) => self.read_own(name, value, at),
                _ => self.mistake(at, &format!("[{name}]: the only table is [{EAL_TABLE}]")),
            }
        }
    }

    fn read_eal(&mut self, text: &str, table: &Table) {
        for (name, _) in table.iter() {
            let Some((key, item)) = table.get_key_value(name) else { continue };
            let at = position(text, key.span().map_or(0, |span| span.start));
            let Some(argument) = eal_argument(name) else {
                self.mistake(at, &format!("EAL has no argument {}", dashed(name)));
                continue;
            };
            let Some(value) = item.as_value() else {
                self.mistake(at, &format!("{name} is not a table: write {name} = \"VALUE\""));
                continue;
            };
            match values(value, argument.takes) {
                Ok(values) => {
                    self.put(true, name, values, argument.takes, Origin::File(at.0, at.1))
                }
                Err(why) => self.mistake(at, &format!("{name}: {why}")),
            }
        }
    }

    fn read_own(&mut self, name: &str, value: &Value, at: (usize, usize)) {
        let command = Cli::command();
        let known = command.get_arguments().find(|argument| argument.get_long() == Some(name));
        let takes = match known {
            Some(_) if NOT_IN_FILES.contains(&name) => {
                return self.mistake(at, &format!("--{name} has no place in a file"));
            }
            Some(argument) => takes(argument),
            None if eal_argument(name).is_some() => {
                return self.mistake(at, &format!("{name} is EAL's: write it below [{EAL_TABLE}]"));
            }
            // clap's message names the argument that may be meant.
            None => Takes::One,
        };
        match values(value, takes) {
            Ok(values) => {
                let origin = Origin::File(at.0, at.1);
                if let Some(why) = refusal(name, &values, takes) {
                    return self.mistake(at, &why);
                }
                self.put(false, name, values, takes, origin);
            }
            Err(why) => self.mistake(at, &format!("{name}: {why}")),
        }
    }

    /// `MPFWD_MAX_PKT_LEN` is `--max-pkt-len`, `MPFWD_EAL_L` is EAL's `-l`.
    fn read_environment(&mut self, variable: impl Fn(&str) -> Option<String>) {
        let command = Cli::command();
        let own = command.get_arguments().filter_map(|argument| {
            let name = argument.get_long().filter(|name| !NOT_IN_FILES.contains(name))?;
            Some((false, name.to_owned(), takes(argument)))
        });
        let eals = EAL
            .iter()
            .flat_map(|row| row.names.iter().map(|name| (true, (*name).to_owned(), row.takes)));
        for (is_eals, name, takes) in own.chain(eals).collect::<Vec<_>>() {
            let start = if is_eals { "MPFWD_EAL_" } else { "MPFWD_" };
            // EAL's -S, beside -s, has no variable.
            if name.chars().any(char::is_uppercase) {
                continue;
            }
            let of = format!("{start}{}", name.to_uppercase().replace('-', "_"));
            let Some(text) = variable(&of) else { continue };
            let values = match (takes, text.as_str()) {
                (Takes::Nothing, "1" | "true" | "yes") => Vec::from([String::new()]),
                (Takes::Nothing, "" | "0" | "false" | "no") => Vec::new(),
                (Takes::Nothing, _) => {
                    self.mistakes.push(format!("{of}: write 1 or 0"));
                    continue;
                }
                (Takes::One, _) => Vec::from([text]),
                (Takes::Many, _) => text.split_whitespace().map(str::to_owned).collect(),
            };
            if let Some(why) = (!is_eals).then(|| refusal(&name, &values, takes)).flatten() {
                self.mistakes.push(format!("{of}: {why}"));
                continue;
            }
            self.put(is_eals, &name, values, takes, Origin::Environment(of));
        }
    }

    /// Replaces what an earlier source says.
    fn put(&mut self, is_eals: bool, name: &str, values: Vec<String>, takes: Takes, from: Origin) {
        let same = |setting: &Setting| {
            setting.is_eals == is_eals
                && (setting.name == name
                    || is_eals && family(name).is_some_and(|row| row.contains(&&*setting.name)))
        };
        self.settings.retain(|setting| !same(setting));
        let is_flag = takes == Takes::Nothing;
        if !values.is_empty() {
            let name = name.to_owned();
            self.settings.push(Setting { is_eals, name, values, is_flag, origin: from });
        }
    }

    /// Every argument and where it was given, as a file that has them all.
    pub fn shown(&self) -> String {
        let mut rows = Vec::new();
        let command = Cli::command();
        let own = command.get_arguments().filter_map(|argument| {
            let name = argument.get_long().filter(|name| !NOT_IN_FILES.contains(name))?;
            Some((name, takes(argument), argument.get_default_values()))
        });
        for (name, takes, defaults) in own {
            if let Some(setting) = self.setting(false, &[name]) {
                rows.push((false, setting));
            } else if let Some(setting) = on_line(false, name, takes, &self.own_words) {
                rows.push((false, setting));
            } else if let [default] = defaults
                && takes != Takes::Nothing
            {
                let values = Vec::from([default.to_string_lossy().into_owned()]);
                let (name, origin) = (name.to_owned(), Origin::Default);
                let setting = Setting { is_eals: false, name, values, is_flag: false, origin };
                rows.push((false, setting));
            }
        }
        for EalArgument { names, takes, .. } in EAL {
            let given = |name: &&str| on_line(true, name, *takes, &self.eal_words);
            let setting = self.setting(true, names).or_else(|| names.iter().find_map(given));
            rows.extend(setting.map(|setting| (true, setting)));
        }
        let mut text = String::new();
        let mut below_eal = false;
        for (is_eals, setting) in rows {
            if is_eals && !below_eal {
                below_eal = true;
                let _ = writeln!(text, "\n[{EAL_TABLE}]");
            }
            let line = format!("{} = {}", setting.name, literal(&setting));
            let _ = writeln!(text, "{line:<39} # {}", self.said(&setting.origin));
        }
        text
    }

    fn setting(&self, is_eals: bool, names: &[&str]) -> Option<Setting> {
        let mut settings = self.settings.iter();
        let is = |setting: &&Setting| {
            setting.is_eals == is_eals && names.contains(&setting.name.as_str())
        };
        settings.find(is).cloned()
    }

    fn said(&self, origin: &Origin) -> String {
        match origin {
            Origin::File(line, _) => {
                format!("{}:{line}", self.file.as_deref().unwrap_or(Path::new("")).display())
            }
            Origin::Environment(variable) => variable.clone(),
            Origin::CommandLine => "command line".into(),
            Origin::Default => "default".into(),
        }
    }
}

/// clap's objection to an argument of its own, if it has one.
fn refusal(name: &str, values: &[String], takes: Takes) -> Option<String> {
    let words = values.iter().map(|value| match takes {
        Takes::Nothing => format!("--{name}"),
        _ => format!("--{name}={value}"),
    });
    let parsed = Cli::try_parse_from(std::iter::once("mpfwd".to_owned()).chain(words));
    parsed.err().map(|error| one_line(&error.to_string()))
}

/// Line and column of a byte, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests;

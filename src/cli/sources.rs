//! Where arguments come from: the file of `--config-file`, the environment, the
//! command line. A later one replaces an argument of an earlier one as a whole.
//! All of them end as the words of one command line, so that each argument has
//! one syntax and one check.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, CommandFactory, Parser};
use toml_edit::{Document, Item, Table, Value};

use super::eal_table::{EAL, EalArgument, Takes, dashed, eal_argument, is_word_of};
use super::{Cli, one_line};
use mpfwd_common::error::{Error, Result};

/// The table of EAL's arguments in the file.
const EAL_TABLE: &str = "eal";

/// Arguments that have no place in a file.
const NOT_IN_FILES: [&str; 5] = ["config-file", "check-args", "generate", "help", "version"];

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
struct Setting {
    is_eals: bool,
    /// Without dashes.
    name: String,
    values: Vec<String>,
    is_flag: bool,
    origin: Origin,
}

impl Setting {
    fn words(&self) -> Vec<String> {
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

/// The names that replace each other.
fn family(name: &str) -> Option<&'static [&'static str]> {
    eal_argument(name).map(|row| row.names)
}

fn takes(argument: &Arg) -> Takes {
    match argument.get_action() {
        ArgAction::SetTrue => Takes::Nothing,
        ArgAction::Append => Takes::Many,
        _ => Takes::One,
    }
}

/// Whether the command line has the argument, by any of its names.
fn is_given(setting: &Setting, eal_args: &[String], own_args: &[String]) -> bool {
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
fn on_line(is_eals: bool, name: &str, takes: Takes, words: &[String]) -> Option<Setting> {
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
fn values(value: &Value, takes: Takes) -> std::result::Result<Vec<String>, String> {
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

fn word(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::String(text) => Ok(text.value().clone()),
        Value::Integer(number) => Ok(number.value().to_string()),
        Value::Float(number) => Ok(number.value().to_string()),
        _ => Err("write a number or a text in quotes".into()),
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

/// As it is written in a file.
fn literal(setting: &Setting) -> String {
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

/// A file with all arguments, as comments.
pub fn example() -> String {
    let mut text = String::from(
        "# Configuration of mpfwd: mpfwd --config-file FILE, and mpfwd check FILE.\n\
         # The environment (MPFWD_BURST=32, MPFWD_EAL_L=0-9) replaces what stands here, and the\n\
         # command line replaces both.\n",
    );
    let command = Cli::command();
    let mut heading = None;
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long().filter(|name| !NOT_IN_FILES.contains(name)) else {
            continue;
        };
        if argument.get_help_heading() != heading {
            heading = argument.get_help_heading();
            let _ = writeln!(text, "\n# ---- {} ----", heading.unwrap_or("Other"));
        }
        let help = argument.get_long_help().or(argument.get_help()).cloned().unwrap_or_default();
        text.push('\n');
        for line in help.to_string().split('\n').filter(|line| !line.is_empty()) {
            // Indented, to leave room for the mark of a comment.
            for line in mpfwd_common::text::wrapped(&format!("  {line}")).lines() {
                let _ = writeln!(text, "# {}", line.trim());
            }
        }
        let _ = writeln!(text, "#{name} = {}", placeholder(argument));
    }
    let _ = writeln!(text, "\n# ---- EAL: lcores, ports, memory ----\n\n[{EAL_TABLE}]");
    for EalArgument { names, example, .. } in EAL {
        if let Some((value, line)) = example {
            let _ = writeln!(text, "\n# {line}\n#{} = {value}", names[0]);
        }
    }
    text
}

/// The default, or what a value looks like.
fn placeholder(argument: &Arg) -> String {
    let text = match argument.get_default_values() {
        [default] => default.to_string_lossy().into_owned(),
        _ if takes(argument) == Takes::Nothing => return "true".into(),
        _ if !argument.get_possible_values().is_empty() => {
            let values = argument.get_possible_values();
            values.iter().map(|value| value.get_name()).collect::<Vec<_>>().join("|")
        }
        _ => argument
            .get_value_names()
            .and_then(|names| names.first())
            .map_or(String::new(), ToString::to_string),
    };
    let values = match takes(argument) {
        Takes::Nothing => return "true".into(),
        Takes::Many => return format!("[{}]", Value::from(text)),
        Takes::One => Vec::from([text]),
    };
    let (name, origin) = (String::new(), Origin::Default);
    literal(&Setting { is_eals: false, name, values, is_flag: false, origin })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Merged, example};

    fn merged(text: &str, environment: &[(&str, &str)], line: &str) -> Merged {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let (eal, own) = (&words[..at], words.get(at + 1..).unwrap_or_default());
        let mut merged = Merged::new(None, eal, own).expect("there is no file");
        merged.file = Some(Path::new("f").to_owned());
        merged.read_file(text);
        merged.read_environment(|name| {
            let variable = environment.iter().find(|(variable, _)| *variable == name);
            variable.map(|(_, value)| (*value).to_owned())
        });
        merged.settings.retain(|setting| !super::is_given(setting, eal, own));
        merged
    }

    #[test]
    fn a_later_source_replaces_an_argument_as_a_whole() {
        let file = "pools = \"3:1\"\nburst = 16\nsteal-rx = false\npromiscuous = true\n\
                    eth-peer = [\"0,02:00:00:00:00:07\", \"1,02:00:00:00:00:08\"]\n\
                    [eal]\nl = \"0-3\"\nvdev = [\"net_null0\", \"net_null1\"]\nno-pci = true\n";
        let merged = merged(
            file,
            &[("MPFWD_BURST", "8"), ("MPFWD_POOLS", "2:2"), ("MPFWD_EAL_NO_PCI", "0")],
            "mpfwd --lcores 0@1,1@2 -- --pools=1:1",
        );
        assert_eq!(merged.mistakes, [""; 0]);
        let (eal, own) = merged.words();
        assert_eq!(eal.join(" "), "mpfwd --vdev net_null0 --vdev net_null1 --lcores 0@1,1@2");
        assert_eq!(
            own.join(" "),
            "--promiscuous --eth-peer=0,02:00:00:00:00:07 --eth-peer=1,02:00:00:00:00:08 --burst=8 --pools=1:1"
        );
        let shown = merged.shown();
        for (start, end) in [
            ("burst = 8 ", "# MPFWD_BURST"),
            ("pools = \"1:1\" ", "# command line"),
            ("promiscuous = true ", "# f:4"),
            ("rxd = 1024 ", "# default"),
            ("lcores = \"0@1,1@2\" ", "# command line"),
            ("vdev = [\"net_null0\", \"net_null1\"]", "# f:8"),
        ] {
            let is = |line: &str| line.starts_with(start) && line.ends_with(end);
            assert!(shown.lines().any(is), "{start}{end}: {shown}");
        }
    }

    #[test]
    fn all_mistakes_are_found_with_their_places() {
        let file = "pols = \"3:1\"\nburst = 600\n  idle = \"spni\"\nmbufs = true\nl = \"0-3\"\n\
                    config-file = \"g\"\nsteal-rx = 1\nrxq = [1, 2]\n[eal]\nvdve = \"net_null0\"\n\
                    no-huge = \"yes\"\n[own]\n";
        let merged = merged(file, &[("MPFWD_RXD", "1")], "mpfwd");
        for (start, says) in [
            ("f:1:1: ", "'--pools'"),
            ("f:2:1: ", "1..=512"),
            ("f:3:3: ", "'spin'"),
            ("f:4:1: ", "in quotes"),
            ("f:5:1: ", "below [eal]"),
            ("f:6:1: ", "no place in a file"),
            ("f:7:1: ", "true or false"),
            ("f:8:1: ", "not a list"),
            ("f:10:1: ", "no argument --vdve"),
            ("f:11:1: ", "true or false"),
            ("f:12:2: ", "the only table"),
            ("MPFWD_RXD: ", "32"),
        ] {
            let is = |mistake: &&String| mistake.starts_with(start);
            let found = merged.mistakes.iter().find(is);
            assert!(found.is_some_and(|mistake| mistake.contains(says)), "{:#?}", merged.mistakes);
        }
        assert_eq!(merged.mistakes.len(), 12, "{:#?}", merged.mistakes);
    }

    #[test]
    fn a_file_that_is_not_toml_is_one_mistake() {
        for (text, start) in [("a = \n", "f:1:"), ("burst = 1\nburst = 2\n", "f:2:1: ")] {
            let merged = merged(text, &[], "mpfwd");
            let [mistake] = &merged.mistakes[..] else { panic!("{:?}", merged.mistakes) };
            assert!(mistake.starts_with(start), "{mistake}");
        }
    }

    #[test]
    fn the_example_is_a_file_without_mistakes() {
        let text = example();
        let merged = merged(&text, &[], "mpfwd");
        assert_eq!((merged.mistakes.len(), merged.settings.len()), (0, 0));
        assert!(text.contains("\n#burst = 32\n") && text.contains("\n#l = \"0-9\"\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        // Those of EAL's arguments are values, too.
        let of_eal = text.split_once("\n[eal]\n").expect("it has the table").1;
        let switched_on: String = of_eal
            .lines()
            .map(|line| line.strip_prefix('#').filter(|line| line.contains(" = ")).unwrap_or(""))
            .filter(|line| !line.starts_with(' '))
            .flat_map(|line| [line, "\n"])
            .collect();
        let merged = self::merged(&format!("[eal]\n{switched_on}"), &[], "mpfwd");
        assert_eq!(merged.mistakes, [""; 0], "{switched_on}");
        assert_eq!(merged.settings.len(), switched_on.matches(" = ").count());
    }
}

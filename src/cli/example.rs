//! The example of a configuration file, made of the arguments' help.

use std::fmt::Write;

use clap::{Arg, CommandFactory};
use toml_edit::Value;

use super::Cli;
use super::eal_table::{EAL, EalArgument, Takes};
use super::setting::{EAL_TABLE, NOT_IN_FILES, Origin, Setting, literal, takes};

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

//! `mpfwd check`: reads a configuration as a run would, and starts nothing.

use std::path::PathBuf;

use super::{outcome, split};
use crate::cli::{Cli, Merged, example};
use crate::config;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{print, say};

/// Behind `mpfwd check`.
const USAGE: &str = "write mpfwd check FILE, and EAL's arguments -- mpfwd's where a run has some; --show prints all arguments, and --example a file";

/// The arguments of `mpfwd check`.
struct Asked {
    file: Option<PathBuf>,
    shows: bool,
    /// The command line of the run.
    line: Vec<String>,
}

impl Asked {
    /// `words`: behind `check`.
    fn of(program: &str, words: &[String]) -> Self {
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let shows = words[..end].iter().any(|word| word == "--show");
        let mut line = Vec::from([program.to_owned()]);
        line.extend(words.iter().filter(|word| *word != "--show").cloned());
        let is_file = line.get(1).is_some_and(|word| !word.starts_with('-'));
        let file = is_file.then(|| PathBuf::from(line.remove(1)));
        Self { file, shows, line }
    }
}

/// Runs `mpfwd check` with the words behind it, for the program of that name.
/// `engine`: reads the files of an engine's arguments.
///
/// # Errors
/// There are mistakes; they have been printed if there is more than one.
pub(super) fn check<A: clap::Args>(
    name: &'static str,
    program: &str,
    words: &[String],
    engine: impl FnOnce(&Cli, A) -> Result<()>,
) -> Result<()> {
    if words.iter().any(|word| word == "--example") {
        print(example());
        return Ok(());
    }
    let Asked { file, shows, line } = Asked::of(program, words);
    if file.is_none() && !shows && line.len() == 1 {
        return Err(Error::Usage(USAGE.into()));
    }
    let (eal_args, own_args) = split(&line)?;
    let merged = Merged::new(file.as_deref(), eal_args, own_args)?;
    let mut mistakes = merged.mistakes.clone();
    match Cli::read_with::<A>(name, &merged.words().1) {
        Ok(None) => return Ok(()),
        Err(error) if mistakes.is_empty() => mistakes.push(merged.placed(&error.to_string())),
        Err(_) => {}
        Ok(Some((cli, own))) => {
            let checks = [
                config::check_alone(&cli).map(drop),
                outcome::check_files(&cli),
                engine(&cli, own),
            ];
            let errors = checks.into_iter().filter_map(Result::err);
            for text in errors.map(|error| merged.placed(&error.to_string())) {
                if !mistakes.contains(&text) {
                    mistakes.push(text);
                }
            }
        }
    }
    if shows {
        print(merged.shown());
    }
    match mistakes.as_slice() {
        [] => {
            if !shows {
                say("no mistakes");
            }
            Ok(())
        }
        [one] => Err(Error::Usage(one.clone())),
        several => {
            several.iter().for_each(mpfwd_common::output::complain);
            Err(Error::Usage(format!("{} mistakes", several.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Asked;

    #[test]
    fn a_file_stands_first_and_a_command_line_may_follow() {
        for (words, file, shows, line) in [
            ("f.toml", Some("f.toml"), false, "mpfwd"),
            ("--show f.toml -l 0 -- --burst 1", Some("f.toml"), true, "mpfwd -l 0 -- --burst 1"),
            ("-l 0 --show", None, true, "mpfwd -l 0"),
        ] {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let asked = Asked::of("mpfwd", &words);
            let named = asked.file.as_ref().and_then(|file| file.to_str());
            assert_eq!((named, asked.shows, &*asked.line.join(" ")), (file, shows, line));
        }
    }
}

//! Compares the documents with the command lines: every flag that they name
//! exists, and every existing flag is described.

mod common;
mod markdown;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use mpfwd::cli::Cli;

/// Flags of other programs that the documents name: EAL's, cargo's, `./dev`'s
/// commands', and those of tools.
const OTHERS: &[&str] = &[
    "--all",
    "--bench",
    "--bind",
    "--changes",
    "--doc",
    "--drivers",
    "--example",
    "--features",
    "--file-prefix",
    "--fresh",
    "--huge-unlink",
    "--hugepages",
    "--ignore-provider",
    "--lib",
    "--log-level",
    "--no-huge",
    "--no-pci",
    "--no-shconf",
    "--no-telemetry",
    "--now",
    "--only",
    "--parent",
    "--profile",
    "--refusals",
    "--release",
    "--seconds",
    "--sha256",
    "--shared-mpfwd",
    "--show",
    "--skew",
    "--socket-mem",
    "--status-dev",
    "--stops",
    "--target-dir",
    "--test",
    "--unix-socket",
    "--variable",
    "--vdev",
    "--workspace",
];

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).expect("docs/").flatten();
    let mut found: Vec<_> = docs.map(|entry| entry.path()).collect();
    found.extend(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}

/// The flags in a text: `--` and a word behind anything that is no word itself.
fn flags(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let inside =
            text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '-');
        let name: String = text[at + 2..].chars().take_while(|&c| part(c)).collect();
        let name = name.trim_end_matches('-');
        if !inside && name.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.insert(format!("--{name}"));
        }
    }
    found
}

fn of_mpfwd() -> BTreeSet<String> {
    let command = Cli::command();
    let visible = command.get_arguments().filter(|argument| !argument.is_hide_set());
    visible.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

fn of_mpctl() -> BTreeSet<String> {
    let output = Command::new(common::mpctl()).args(["generate", "bash"]).output();
    let completions = String::from_utf8(output.expect("mpctl runs").stdout).expect("text");
    flags(&completions)
}

fn of_mplab() -> BTreeSet<String> {
    let output = Command::new(common::mplab()).args(["generate", "bash"]).output();
    let completions = String::from_utf8(output.expect("mplab runs").stdout).expect("text");
    flags(&completions)
}

#[test]
fn documents_name_no_flag_that_does_not_exist() {
    let mut known = of_mpfwd();
    known.extend(of_mplab());
    known.extend(of_mpctl());
    known.extend(["--help", "--version"].map(str::to_owned));
    known.extend(OTHERS.iter().map(|&name| name.to_owned()));
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("a document");
        let unknown: Vec<_> =
            flags(&text).into_iter().filter(|flag| !known.contains(flag)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

#[test]
fn flags_md_is_what_clap_says() {
    let generated = markdown::page(&mut Cli::command());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flags.md");
    if std::fs::read_to_string(&page).unwrap_or_default() != generated {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flags.md");
        std::fs::write(&new, generated).expect("cargo's folder is writable");
        panic!("run cp {} {}, and read the difference", new.display(), page.display());
    }
}

#[test]
fn every_flag_is_described() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        flags(&std::fs::read_to_string(path).expect("a document"))
    };
    for (page, there) in
        [("flags.md", of_mpfwd()), ("mplab.md", of_mplab()), ("mpctl.md", of_mpctl())]
    {
        let described = read(page);
        let is_missing = |flag: &&String| {
            !described.contains(*flag) && !["--help", "--version"].contains(&flag.as_str())
        };
        let missing: Vec<_> = there.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "docs/{page} lacks {missing:?}");
    }
}

#[test]
fn flags_are_found_in_text() {
    let found = flags("`--a-b`, --c=1, x--d, --- and (--e-)");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["--a-b", "--c", "--e"]);
}

//! A rules file, compiled for scanning.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use vectorscan::{CompileError, Database, Mode, OutOfMemory};

use super::expression::Expression;
use super::literals::Literals;
use super::matcher::Matcher;
use super::names::NameSet;
use super::rules::{Pattern, Rules, refusal};
use super::streams::{HELD_BYTES, Streams};
use crate::engine::Mistake;
use mpfwd_common::error::{Error, Result};

/// The most bytes that a stream's expressions may take. Thousands of usual ones
/// take a few hundred.
const STREAM_BYTES_MAX: usize = if cfg!(test) { 2 << 10 } else { 64 << 10 };

/// What a rules file is compiled to; shared by all lcores.
pub struct Automata {
    pub(super) matcher: Matcher,
    /// Regular expressions that are matched within each payload.
    pub(super) within: Option<Arc<Database>>,
    pub(super) streams: Streams,
}

impl Automata {
    /// Compiles the rules of the file at `path`. `stream_bytes`: the most
    /// memory for streams.
    ///
    /// # Errors
    /// When regular expressions are too large; names all of them that are by
    /// themselves.
    pub fn compile(rules: &Rules, path: &Path, stream_bytes: usize) -> Result<Self> {
        let mut names = NameSet::default();
        let (mut literals, mut across, mut within) = (Vec::new(), Vec::new(), Vec::new());
        let zero_first = literals_of_zero(rules);
        across.extend(zero_first.iter().map(|(text, at)| (text.as_str(), *at)));
        // Only the first rule with a pattern can count.
        let (mut seen_literals, mut seen_texts) = (HashMap::new(), HashMap::new());
        for (rule, at) in rules.0.iter().zip(0..) {
            match &rule.pattern {
                Pattern::Literal(bytes) => {
                    if bytes[0] != 0 && seen_literals.insert(bytes.as_slice(), at).is_none() {
                        literals.push((bytes.as_slice(), at));
                    }
                }
                Pattern::Regex(expression) => {
                    if seen_texts.insert(expression.text.as_str(), at).is_none() {
                        let group = if expression.within { &mut within } else { &mut across };
                        group.push((expression.text.as_str(), at));
                    }
                }
                Pattern::Names(list, places) => names.add(list, places, at),
            }
        }
        let literals = Literals::compile(&literals).map_err(|error| {
            Error::Usage(format!("--rules {}: literals: {error}", path.display()))
        })?;
        let across = database(&across, Mode::Stream, rules, path)?;
        let within = database(&within, Mode::Block, rules, path)?;
        let matcher = Matcher { names, literals, across };
        let streams_max = stream_bytes / (matcher.stream_bytes() + HELD_BYTES);
        let streams = Streams::new(streams_max, || matcher.open()).map_err(out_of_memory)?;
        Ok(Self { matcher, within, streams })
    }

    /// Streams that there is memory for.
    pub fn streams_max(&self) -> usize {
        self.streams.capacity()
    }
}

/// The literals that begin with a zero byte, as expressions: Vectorscan takes
/// them for empty.
fn literals_of_zero(rules: &Rules) -> Vec<(String, u32)> {
    let mut seen = HashSet::new();
    let literals = rules.0.iter().zip(0..).filter_map(|(rule, at)| match &rule.pattern {
        Pattern::Literal(bytes) if bytes[0] == 0 && seen.insert(bytes) => {
            Some((Expression::escaped(bytes), at))
        }
        _ => None,
    });
    literals.collect()
}

pub(super) fn out_of_memory(_: OutOfMemory) -> Error {
    Error::Setup("--rules: no memory for them: write a smaller --stream-memory".into())
}

/// Compiles expressions in one database. If it is refused, looks for all
/// expressions that are refused by themselves.
fn database(
    expressions: &[(&str, u32)],
    mode: Mode,
    rules: &Rules,
    path: &Path,
) -> Result<Option<Arc<Database>>> {
    if expressions.is_empty() {
        return Ok(None);
    }
    let compile = |expressions: &[(&str, u32)]| {
        let database = Database::compile(expressions, mode)?;
        if database.stream_bytes() > STREAM_BYTES_MAX {
            let what = format!(
                "its state takes {} KiB per stream, and all together may take {}: write a simpler one",
                database.stream_bytes() >> 10,
                STREAM_BYTES_MAX >> 10
            );
            return Err(CompileError { expression: None, what });
        }
        Ok(Arc::new(database))
    };
    let together = match compile(expressions) {
        Ok(database) => return Ok(Some(database)),
        Err(error) => error,
    };
    let place = |at: u32, error: &CompileError| {
        let rule = &rules.0[at as usize];
        Mistake::new(rule.line, rule.column, format!("regular expression: {error}"))
    };
    let alone: Vec<Mistake> = expressions
        .iter()
        .filter_map(|&one| compile(&[one]).err().map(|error| place(one.1, &error)))
        .collect();
    if !alone.is_empty() {
        return Err(refusal(path, &alone));
    }
    Err(match together.expression.and_then(|at| expressions.get(at)) {
        Some(&(_, at)) => refusal(path, &[place(at, &together)]),
        None => Error::Usage(format!(
            "--rules {}: all regular expressions together: {together}",
            path.display()
        )),
    })
}

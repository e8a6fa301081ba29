//! The rules file of `dpi`: one rule a line, read into [`Rules`], or refused
//! with the place of the mistake. docs/dpi.md describes the syntax.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::CharIndices;

use regex_syntax::hir::Hir;

use crate::engine::Mistake;
use mpfwd_common::error::{Error, Result};

/// The most rules of a file: a flow's entry has 16 bits for the rule that
/// decided it.
pub const RULES_MAX: usize = u16::MAX as usize;

/// The treatment of a flow's packets from the first match on, the matching
/// packet included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forwarded, and the flow is not scanned any more.
    Forward,
    Drop,
    /// Forwarded with this DSCP, 0 to 63.
    Mark(u8),
}

impl fmt::Display for Action {
    /// As in the rules file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward"),
            Self::Drop => f.write_str("drop"),
            Self::Mark(dscp) => write!(f, "mark={dscp}"),
        }
    }
}

/// The pattern that a payload is searched for.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// These bytes, at least one, anywhere.
    Literal(Vec<u8>),
    /// A regular expression over bytes that matches at least one.
    Regex(Hir),
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub action: Action,
    pub name: String,
    pub pattern: Pattern,
    /// Its line in the file, from 1.
    pub line: u32,
}

/// A whole file. Where several rules match a packet, the first one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// Reads the file that `--rules` names.
    ///
    /// # Errors
    /// When it cannot be read or holds no rules; otherwise the first mistake,
    /// with file, line and column.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |why: String| Error::Usage(format!("--rules {}{why}", path.display()));
        let bytes = std::fs::read(path)
            .map_err(|error| refused(format!(": {error}; write the name of a file of rules")))?;
        let rules = Self::parse(&bytes).map_err(|mistake| refused(format!(":{mistake}")))?;
        if rules.0.is_empty() {
            return Err(refused(
                ": it has no rules; write one a line, for example: drop passwd \"GET /etc/passwd\""
                    .into(),
            ));
        }
        Ok(rules)
    }

    /// The rules of a file with these bytes.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, Mistake> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
        let (mut rules, mut lines) = (Vec::new(), HashMap::new());
        for (line, text) in (1..).zip(text.lines()) {
            let mistake = |(column, what): (usize, String)| Mistake::new(line, column as u32, what);
            let Some((column, rule)) = rule(text, line).map_err(mistake)? else { continue };
            if let Some(before) = lines.insert(rule.name.clone(), line) {
                let what = format!(
                    "the rule in line {before} has the name {} already: names must be unique",
                    rule.name
                );
                return Err(mistake((column, what)));
            }
            if rules.len() == RULES_MAX {
                return Err(mistake((1, format!("at most {RULES_MAX} rules are allowed"))));
            }
            rules.push(rule);
        }
        Ok(Self(rules))
    }
}

/// A result, or a column and the mistake there.
type At<T> = std::result::Result<T, (usize, String)>;

fn not_utf8(bytes: &[u8], valid: usize) -> Mistake {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let what = format!(
        "the byte 0x{:02x} is not UTF-8: write it as \\x{:02x}",
        bytes[valid], bytes[valid]
    );
    Mistake::new(
        before.matches('\n').count() as u32 + 1,
        before[line_start..].chars().count() as u32 + 1,
        what,
    )
}

/// The column of a byte of the line.
fn column_of(line: &str, byte: usize) -> usize {
    line[..byte].chars().count() + 1
}

/// `ACTION NAME PATTERN`, and the name's column; `None` for a blank line or a
/// comment.
fn rule(text: &str, line: u32) -> At<Option<(usize, Rule)>> {
    let bare = text.trim_start();
    if bare.is_empty() || bare.starts_with('#') {
        return Ok(None);
    }
    let mut at = text.len() - bare.len();
    let mut word = || {
        let rest = &text[at..];
        let start = at + rest.len() - rest.trim_start().len();
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |len| start + len);
        at = end;
        (start, &text[start..end])
    };
    let (action_at, action_word) = word();
    let action = action(action_word).map_err(|what| (column_of(text, action_at), what))?;
    let (name_at, name) = word();
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) {
        let what = format!(
            "expected the rule's name (letters, digits, '-', '_', '.'), found {}",
            found(name)
        );
        return Err((column_of(text, name_at), what));
    }
    let (pattern_at, _) = word();
    let pattern = pattern(text, pattern_at)?;
    Ok(Some((column_of(text, name_at), Rule { action, name: name.to_owned(), pattern, line })))
}

fn found(word: &str) -> String {
    if word.is_empty() { "the end of the line".into() } else { format!("{word:?}") }
}

fn action(word: &str) -> std::result::Result<Action, String> {
    match word.split_once('=') {
        None if word == "forward" => Ok(Action::Forward),
        None if word == "drop" => Ok(Action::Drop),
        Some(("mark", dscp)) => match dscp.parse() {
            Ok(dscp @ 0..=63) => Ok(Action::Mark(dscp)),
            _ => Err(format!("expected a DSCP from 0 to 63 after mark=, found {}", found(dscp))),
        },
        _ => Err(format!("expected forward, drop or mark=DSCP, found {}", found(word))),
    }
}

/// The pattern from this byte to the end of the line.
fn pattern(line: &str, start: usize) -> At<Pattern> {
    let text = line[start..].trim_end();
    match text.chars().next() {
        Some('"') => literal(line, start).map(Pattern::Literal),
        Some('/') => match text[1..].strip_suffix('/') {
            Some(regex_text) => regex(regex_text, column_of(line, start + 1)).map(Pattern::Regex),
            None => Err((
                column_of(line, start + text.len()),
                "expected '/' at the end of the regular expression".into(),
            )),
        },
        _ => Err((
            column_of(line, start),
            format!("expected \"bytes\" or /regular expression/, found {}", found(text)),
        )),
    }
}

/// The bytes between quotation marks.
fn literal(line: &str, start: usize) -> At<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chars = line[start..].char_indices();
    chars.next();
    let column = |at: usize| column_of(line, start + at);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = chars.as_str().trim();
                return match (rest.is_empty(), bytes.is_empty()) {
                    (false, _) => Err((column(at + 1), format!("expected the end of the line after the pattern, found {rest:?}"))),
                    (_, true) => Err((column(at), "expected at least one byte".into())),
                    _ => Ok(bytes),
                };
            }
            '\\' => bytes.push(escaped(&mut chars).ok_or_else(|| {
                (
                    column(at),
                    "expected one of the escapes \\\\, \\\", \\n, \\r, \\t, \\0 or \\xHH (two hexadecimal digits)".to_owned(),
                )
            })?),
            _ => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err((column_of(line, line.len()), "expected '\"' at the end of the pattern".into()))
}

/// The byte that an escape stands for.
fn escaped(chars: &mut CharIndices<'_>) -> Option<u8> {
    match chars.next()?.1 {
        c @ ('\\' | '"') => Some(c as u8),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        '0' => Some(0),
        'x' => {
            let mut digit = || chars.next()?.1.to_digit(16);
            Some((digit()? << 4 | digit()?) as u8)
        }
        _ => None,
    }
}

/// A regular expression in the regex crate's syntax, over bytes, whose first
/// character is in this column.
fn regex(text: &str, column: usize) -> At<Hir> {
    let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(text);
    let hir = parsed.map_err(|error| match &error {
        regex_syntax::Error::Parse(error) => (
            column + error.span().start.column - 1,
            format!("regular expression: {}", error.kind()),
        ),
        regex_syntax::Error::Translate(error) => (
            column + error.span().start.column - 1,
            format!("regular expression: {}", error.kind()),
        ),
        other => (column, format!("regular expression: {}", other.to_string().replace('\n', " "))),
    })?;
    match hir.properties().minimum_len() {
        Some(0) => {
            Err((column, "expected a regular expression that matches at least one byte".into()))
        }
        None => Err((column, "expected a regular expression that can match".into())),
        Some(_) => Ok(hir),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_read() {
        let rules = Rules::parse(
            b"# what is denied\n\n  drop passwd \"GET /etc/passwd\"\nmark=46\tvoice  /^(INVITE|REGISTER) sip:/  \nforward x.1 \"\\x00\\\\\\\"\\r\\n\xc3\xa9\"\n",
        )
        .unwrap();
        let [passwd, voice, bytes] = &rules.0[..] else { panic!("{rules:?}") };
        assert_eq!((passwd.action, passwd.name.as_str(), passwd.line), (Action::Drop, "passwd", 3));
        assert_eq!(passwd.pattern, Pattern::Literal(b"GET /etc/passwd".to_vec()));
        assert_eq!(
            (voice.action, voice.action.to_string()),
            (Action::Mark(46), "mark=46".to_owned())
        );
        assert!(matches!(&voice.pattern, Pattern::Regex(_)));
        assert_eq!(bytes.pattern, Pattern::Literal(b"\0\\\"\r\n\xc3\xa9".to_vec()));
    }

    #[test]
    fn mistakes_are_reported_with_their_place() {
        for (text, place, says) in [
            ("drp a \"x\"", (1, 1), "forward, drop or mark=DSCP"),
            ("mark=64 a \"x\"", (1, 1), "0 to 63"),
            ("mark a \"x\"", (1, 1), "mark=DSCP"),
            ("\n# c\ndrop", (3, 5), "name"),
            ("drop \"x\"", (1, 6), "name"),
            ("drop a", (1, 7), "\"bytes\" or /regular expression/"),
            ("drop a x", (1, 8), "\"bytes\" or /regular expression/"),
            ("drop a \"x", (1, 10), "end of the pattern"),
            ("drop a \"x\" y", (1, 11), "end of the line"),
            ("drop a \"\"", (1, 9), "at least one byte"),
            ("drop a \"ab\\q\"", (1, 11), "\\xHH"),
            ("drop a \"\\x4\"", (1, 9), "\\xHH"),
            ("drop a /x", (1, 10), "end of the regular expression"),
            ("drop a /", (1, 9), "end of the regular expression"),
            ("drop a /ab(c/", (1, 11), "unclosed group"),
            ("drop a /a{3,2}/", (1, 10), "repetition"),
            ("drop a /\\pL/", (1, 9), "Unicode"),
            ("drop a /a*/", (1, 9), "at least one byte"),
            ("drop a /[^\\x00-\\xff]/", (1, 9), "that can match"),
            ("drop \u{e9} \"x\"\ndrop \u{e9} \"y\"", (2, 6), "line 1"),
        ] {
            let wrong = Rules::parse(text.as_bytes()).expect_err(text);
            assert_eq!((wrong.at.line, wrong.at.column), place, "{text:?}: {wrong}");
            assert!(wrong.what.contains(says) && !wrong.what.contains('\n'), "{text:?}: {wrong}");
        }
        let wrong = Rules::parse(b"drop a \"x\"\ndrop \xc3\xa9 \"\xff\"").unwrap_err();
        assert_eq!((wrong.at.line, wrong.at.column), (2, 9), "{wrong}");
        assert!(wrong.what.contains("\\xff"), "{wrong}");
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "(drop|mark=1) [a-z]* [\"/]\\PC{0,20}[\"/ ]") {
            let _ = (Rules::parse(&bytes), Rules::parse(text.as_bytes()));
        }

        #[test]
        fn any_bytes_can_be_written(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let rules = Rules::parse(format!("drop a \"{text}\"").as_bytes()).unwrap();
            prop_assert_eq!(&rules.0[0].pattern, &Pattern::Literal(bytes));
        }
    }
}

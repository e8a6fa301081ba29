//! The rules file of `dpi`: one rule a line, read into [`Rules`], or refused
//! with the place of the mistake. docs/dpi.md describes the syntax.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::CharIndices;

use super::expression::Expression;
use super::hosts::Place;
use super::names::Name;
use crate::engine::Mistake;
use mpfwd_common::error::{Error, Result};

/// The most rules of a file: a flow's entry has 20 bits for the rule that
/// decided it.
pub const RULES_MAX: usize = (1 << 20) - 1;

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
    Regex(Expression),
    /// One of these names, in one of these places.
    Names(Vec<Name>, &'static [Place]),
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub action: Action,
    pub name: String,
    pub pattern: Pattern,
    /// Its line in the file, and the column of its pattern, from 1.
    pub line: u32,
    pub column: u32,
}

/// A whole file. Where several rules match a packet, the first one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// Reads the file that `--rules` names.
    ///
    /// # Errors
    /// When it cannot be read or holds no rules; otherwise all mistakes, a line
    /// each, with file, line and column.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |why: String| Error::Usage(format!("--rules {}{why}", path.display()));
        let bytes = std::fs::read(path)
            .map_err(|error| refused(format!(": {error}; write the name of a file of rules")))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let rules = Self::parse(&bytes, folder).map_err(|mistakes| refusal(path, &mistakes))?;
        if rules.0.is_empty() {
            return Err(refused(
                ": it has no rules; write one a line, for example: drop passwd \"GET /etc/passwd\""
                    .into(),
            ));
        }
        Ok(rules)
    }

    /// The rules of a file with these bytes. Lists of names are in `folder`.
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(bytes: &[u8], folder: &Path) -> std::result::Result<Self, Vec<Mistake>> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| vec![not_utf8(bytes, error.valid_up_to())])?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut rules, mut lines, mut mistakes) = (Vec::new(), HashMap::new(), Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let mut mistake = |(column, what): (usize, String)| {
                mistakes.push(Mistake::new(line, column as u32, what));
            };
            let (column, rule) = match rule(text, line, folder) {
                Ok(Some(rule)) => rule,
                Ok(None) => continue,
                Err(wrong) => {
                    wrong.into_iter().for_each(mistake);
                    continue;
                }
            };
            if let Some(before) = lines.insert(rule.name.clone(), line) {
                let what = format!(
                    "the rule in line {before} has the name {} already: names must be unique",
                    rule.name
                );
                mistake((column, what));
            }
            if rules.len() == RULES_MAX {
                mistake((1, format!("at most {RULES_MAX} rules are allowed")));
                break;
            }
            rules.push(rule);
        }
        if mistakes.is_empty() { Ok(Self(rules)) } else { Err(mistakes) }
    }
}

/// The message for mistakes in the file of rules, a line each.
pub(super) fn refusal(path: &Path, mistakes: &[Mistake]) -> Error {
    let line = |mistake: &Mistake| format!("--rules {}:{mistake}", path.display());
    Error::Usage(mistakes.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A result, or a column and the mistake there.
type At<T> = std::result::Result<T, (usize, String)>;

/// A result, or all mistakes and their columns.
type AtAll<T> = std::result::Result<T, Vec<(usize, String)>>;

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
fn rule(text: &str, line: u32, folder: &Path) -> AtAll<Option<(usize, Rule)>> {
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
    let action = action(action_word).map_err(|what| vec![(column_of(text, action_at), what)])?;
    let (name_at, name) = word();
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) {
        let what = format!(
            "expected the rule's name (letters, digits, '-', '_', '.'), found {}",
            found(name)
        );
        return Err(vec![(column_of(text, name_at), what)]);
    }
    let (pattern_at, pattern_word) = word();
    let pattern = match places(pattern_word) {
        Some(places) => {
            let (names_at, _) = word();
            Pattern::Names(names(text, names_at, folder)?, places)
        }
        None => pattern(text, pattern_at).map_err(|mistake| vec![mistake])?,
    };
    let column = column_of(text, pattern_at) as u32;
    let rule = Rule { action, name: name.to_owned(), pattern, line, column };
    Ok(Some((column_of(text, name_at), rule)))
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

/// Where the names stand that follow this word, if it is one for names.
fn places(word: &str) -> Option<&'static [Place]> {
    Some(match word {
        "sni" => &[Place::Sni],
        "host" => &[Place::Host],
        "dns" => &[Place::Dns],
        "name" => &Place::ALL,
        _ => return None,
    })
}

/// The name from this byte to the end of the line, or those of the list there.
fn names(line: &str, start: usize, folder: &Path) -> AtAll<Vec<Name>> {
    let text = line[start..].trim_end();
    let column = column_of(line, start);
    if let Some(file) = text.strip_prefix('@').filter(|file| !file.is_empty()) {
        let at = |what| (column, what);
        return Name::read_list(&folder.join(file))
            .map_err(|mistakes| mistakes.into_iter().map(at).collect());
    }
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let Some(name) = quoted else {
        let what = format!("expected \"name\" or @FILE, a list of names, found {}", found(text));
        return Err(vec![(column, what)]);
    };
    Name::parse(name).map(|name| vec![name]).map_err(|what| vec![(column + 1, what)])
}

/// The pattern from this byte to the end of the line.
fn pattern(line: &str, start: usize) -> At<Pattern> {
    let text = line[start..].trim_end();
    match text.chars().next() {
        Some('"') => literal(line, start).map(Pattern::Literal),
        Some('/') => match text[1..].strip_suffix('/') {
            Some(regex_text) => match Expression::parse(regex_text) {
                Ok(expression) => Ok(Pattern::Regex(expression)),
                Err((at, what)) => Err((column_of(line, start + 1) + at, what)),
            },
            None => Err((
                column_of(line, start + text.len()),
                "expected '/' at the end of the regular expression".into(),
            )),
        },
        _ => Err((
            column_of(line, start),
            format!(
                "expected \"bytes\", /regular expression/, or sni, host, dns or name, found {}",
                found(text)
            ),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> std::result::Result<Rules, Vec<Mistake>> {
        Rules::parse(bytes, Path::new("."))
    }

    #[test]
    fn a_file_is_read() {
        let rules = parse(
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
            ("drop a host", (1, 12), "@FILE"),
            ("drop a sni \"a b\"", (1, 13), "name of a host"),
            ("drop a dns @nowhere", (1, 12), "nowhere"),
            ("drp a \"x\"", (1, 1), "forward, drop or mark=DSCP"),
            ("mark=64 a \"x\"", (1, 1), "0 to 63"),
            ("mark a \"x\"", (1, 1), "mark=DSCP"),
            ("\n# c\ndrop", (3, 5), "name"),
            ("drop \"x\"", (1, 6), "name"),
            ("drop a", (1, 7), "\"bytes\", /regular expression/"),
            ("drop a x", (1, 8), "\"bytes\", /regular expression/"),
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
            let wrongs = parse(text.as_bytes()).expect_err(text);
            let [wrong] = &wrongs[..] else { panic!("{text:?}: {wrongs:?}") };
            assert_eq!((wrong.at.line, wrong.at.column), place, "{text:?}: {wrong}");
            assert!(wrong.what.contains(says) && !wrong.what.contains('\n'), "{text:?}: {wrong}");
        }
        let wrong = &parse(b"drop a \"x\"\ndrop \xc3\xa9 \"\xff\"").unwrap_err()[0];
        assert_eq!((wrong.at.line, wrong.at.column), (2, 9), "{wrong}");
        assert!(wrong.what.contains("\\xff"), "{wrong}");
    }

    #[test]
    fn all_mistakes_of_a_file_are_reported() {
        let text = b"\xef\xbb\xbfdrop a /(?=x)y/\r\ndrop b \"fine\"\r\ndrop c /(x)\\1/\r\ndrop b /x/i\r\ndrop a y";
        let wrong = parse(text).unwrap_err();
        let lines: Vec<u32> = wrong.iter().map(|mistake| mistake.at.line).collect();
        assert_eq!(lines, [1, 3, 4, 5], "{wrong:?}");
    }

    #[test]
    fn names_are_read() {
        let rules = parse(b"drop a sni \".Example.com\"\nforward b name \"x.test\"\n").unwrap();
        let name = |name: &str, below| vec![Name { name: name.into(), below }];
        assert_eq!(rules.0[0].pattern, Pattern::Names(name("example.com", true), &[Place::Sni]));
        assert_eq!(rules.0[1].pattern, Pattern::Names(name("x.test", false), &Place::ALL));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "(drop|mark=1) [a-z]* [\"/]\\PC{0,20}[\"/ ]") {
            let _ = (parse(&bytes), parse(text.as_bytes()));
        }

        #[test]
        fn any_bytes_can_be_written(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let rules = parse(format!("drop a \"{text}\"").as_bytes()).unwrap();
            prop_assert_eq!(&rules.0[0].pattern, &Pattern::Literal(bytes));
        }
    }
}

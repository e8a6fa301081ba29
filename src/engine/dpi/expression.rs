//! Regular expressions: read in the regex crate's syntax, over bytes, and
//! written in Vectorscan's.

use std::fmt::Write;

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// A regular expression that matches at least one byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// In PCRE's syntax, with every byte escaped.
    pub text: String,
    /// It looks at a payload's ends, lines or words: it is matched within each
    /// payload, not across them.
    pub within: bool,
}

/// The most characters and classes of an expression, with repetitions written
/// out. Vectorscan compiles as many in about a second; the time grows faster
/// than their number.
const SIZE_MAX: u64 = 4_096;

/// A repetition of a single class is counted: it costs as much as that of a
/// group which is as many times shorter.
const COUNTED: u64 = 8;

/// Characters and classes, with repetitions written out.
fn size(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            let sub = size(&repetition.sub);
            sub.saturating_mul(if sub > 1 { times } else { times.div_ceil(COUNTED) })
        }
        HirKind::Capture(capture) => size(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(size).fold(0, u64::saturating_add)
        }
    }
}

/// An offset in characters, and the mistake there.
pub(super) type Refused = (usize, String);

impl Expression {
    /// # Errors
    /// When it is no regular expression, or Vectorscan does not support it.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let hir = Self::hir(text)?;
        let unsupported = |what: String| (0, format!("regular expression: {what}"));
        let size = size(&hir);
        if size > SIZE_MAX {
            return Err(unsupported(format!(
                "with its repetitions it has {size} characters and classes, at most {SIZE_MAX} are \
                 allowed: write a simpler one"
            )));
        }
        let mut expression = Self { text: String::new(), within: false };
        expression.write(&hir).map_err(|what| unsupported(what.into()))?;
        vectorscan::info(&expression.text).map_err(|error| unsupported(error.what))?;
        Ok(expression)
    }

    /// A literal in PCRE's syntax.
    pub(super) fn escaped(literal: &[u8]) -> String {
        let mut expression = Self { text: String::new(), within: false };
        literal.iter().for_each(|&byte| expression.byte(byte));
        expression.text
    }

    fn hir(text: &str) -> Result<Hir, Refused> {
        let parsed =
            regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(text);
        let hir = parsed.map_err(|error| match &error {
            regex_syntax::Error::Parse(error) => {
                (error.span().start.column - 1, format!("regular expression: {}", error.kind()))
            }
            regex_syntax::Error::Translate(error) => {
                (error.span().start.column - 1, format!("regular expression: {}", error.kind()))
            }
            other => (0, format!("regular expression: {}", other.to_string().replace('\n', " "))),
        })?;
        match hir.properties().minimum_len() {
            Some(0) => {
                Err((0, "expected a regular expression that matches at least one byte".into()))
            }
            None => Err((0, "expected a regular expression that can match".into())),
            Some(_) => Ok(hir),
        }
    }

    fn write(&mut self, hir: &Hir) -> Result<(), &'static str> {
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => literal.0.iter().for_each(|&byte| self.byte(byte)),
            HirKind::Class(class) => self.class(class)?,
            HirKind::Look(look) => {
                self.within = true;
                self.text.push_str(match look {
                    Look::Start => r"\A",
                    Look::End => r"\z",
                    Look::StartLF => "(?m:^)",
                    Look::EndLF => "(?m:$)",
                    Look::WordAscii => r"\b",
                    Look::WordAsciiNegate => r"\B",
                    _ => {
                        return Err("this kind of border is not supported, only ^, $, \\b and \\B");
                    }
                });
            }
            HirKind::Repetition(repetition) => {
                self.text.push_str("(?:");
                self.write(&repetition.sub)?;
                self.text.push(')');
                // Which match is preferred does not matter: all are found.
                match (repetition.min, repetition.max) {
                    (0, None) => self.text.push('*'),
                    (1, None) => self.text.push('+'),
                    (0, Some(1)) => self.text.push('?'),
                    (min, None) => self.put(format_args!("{{{min},}}")),
                    (min, Some(max)) => self.put(format_args!("{{{min},{max}}}")),
                }
            }
            HirKind::Capture(capture) => self.write(&capture.sub)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part))?,
            HirKind::Alternation(parts) => {
                self.text.push_str("(?:");
                for (at, part) in parts.iter().enumerate() {
                    if at > 0 {
                        self.text.push('|');
                    }
                    self.write(part)?;
                }
                self.text.push(')');
            }
        }
        Ok(())
    }

    fn class(&mut self, class: &Class) -> Result<(), &'static str> {
        let bytes = match class {
            Class::Bytes(bytes) => Some(bytes.clone()),
            Class::Unicode(characters) => characters.to_byte_class(),
        };
        self.text.push('[');
        for range in bytes.ok_or("only classes of bytes are supported")?.ranges() {
            self.byte(range.start());
            if range.end() > range.start() {
                self.text.push('-');
                self.byte(range.end());
            }
        }
        self.text.push(']');
        Ok(())
    }

    fn byte(&mut self, byte: u8) {
        self.put(format_args!("\\x{byte:02x}"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_written_in_vectorscans_syntax() {
        for (text, written, within) in [
            ("ab", r"\x61\x62", false),
            ("a(b|cd)+?", r"\x61(?:(?:\x62|\x63\x64))+", false),
            ("(?i)k", r"[\x4b\x6b]", false),
            ("^a{2,}[^\\n]{3}$", r"\A(?:\x61){2,}(?:[\x00-\x09\x0b-\xff]){3,3}\z", true),
            (r"(?m)^a\b", r"(?m:^)\x61\b", true),
        ] {
            let expression = Expression::parse(text).unwrap();
            assert_eq!((expression.text.as_str(), expression.within), (written, within), "{text}");
        }
    }

    #[test]
    fn unsupported_expressions_are_refused() {
        assert!(Expression::parse("[^?]{1,4000}x").is_ok());
        for (text, at) in [
            ("(?=x)y", 0),
            (r"(x)\1", 3),
            ("a(b", 1),
            ("a*", 0),
            (r"a\b{start}b", 0),
            ("(?Rm)a$", 0),
            ("(x[yz]{90}){400}", 0),
            ("((ab){300}c){300}", 0),
            (".{32767}.{32767}", 0),
        ] {
            assert_eq!(Expression::parse(text).expect_err(text).0, at, "{text}");
        }
    }
}

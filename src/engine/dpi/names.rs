//! Names of hosts: lists of them, and the rule of a name, by sets.

use std::collections::HashMap;
use std::path::Path;

use super::hosts::{NAME_MAX, Place};

/// A name of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// In lower case, without a dot at either end.
    pub name: String,
    /// The names below it, too.
    pub below: bool,
}

/// Bytes of a label.
const LABEL_MAX: usize = 63;

impl Name {
    /// `example.com`: this name. `.example.com` or `*.example.com`: also all
    /// names below it.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("*.").or(text.strip_prefix('.'));
        let name = bare.unwrap_or(text).trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if name.len() <= NAME_MAX && name.split('.').all(is_label) {
            return Ok(Self { name, below: bare.is_some() });
        }
        let hint = if name.is_ascii() { "" } else { " (write it in Punycode, xn--)" };
        Err(format!("expected the name of a host, or a dot and a domain{hint}, found {text:?}"))
    }

    /// Reads a list: a name a line, with comments behind `#`.
    ///
    /// # Errors
    /// All mistakes, each with its line.
    pub fn read_list(path: &Path) -> Result<Vec<Self>, Vec<String>> {
        let shown = path.display();
        let bytes = std::fs::read(path).map_err(|error| vec![format!("{shown}: {error}")])?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (mut names, mut mistakes) = (Vec::new(), Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let name = text.split('#').next().unwrap_or_default().trim();
            if name.is_empty() {
                continue;
            }
            match Self::parse(name) {
                Ok(name) => names.push(name),
                Err(what) => mistakes.push(format!("{shown}:{line}: {what}")),
            }
        }
        if names.is_empty() && mistakes.is_empty() {
            mistakes.push(format!("{shown}: the list has no names"));
        }
        if mistakes.is_empty() { Ok(names) } else { Err(mistakes) }
    }
}

/// By place of the name: the first rule that has it, or `NONE`.
type First = [u32; Place::ALL.len()];
const NONE: u32 = u32::MAX;

/// The names of all rules.
#[derive(Debug, Default)]
pub(super) struct NameSet {
    exact: HashMap<Box<[u8]>, First>,
    below: HashMap<Box<[u8]>, First>,
}

impl NameSet {
    /// Adds a rule's names, in the order of the file.
    pub fn add(&mut self, names: &[Name], places: &[Place], rule: u32) {
        let mut add = |set: bool, name: &str| {
            let map = if set { &mut self.below } else { &mut self.exact };
            let first = map.entry(name.as_bytes().into()).or_insert([NONE; Place::ALL.len()]);
            for &place in places {
                first[place as usize] = first[place as usize].min(rule);
            }
        };
        for name in names {
            add(name.below, &name.name);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The first rule that has the name or a domain above it. `name` is in
    /// lower case.
    pub fn first(&self, name: &[u8], place: Place) -> Option<u32> {
        let of = |map: &HashMap<Box<[u8]>, First>, name: &[u8]| {
            map.get(name).map_or(NONE, |first| first[place as usize])
        };
        let mut first = of(&self.exact, name);
        if !self.below.is_empty() {
            let dots = name.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
            for start in std::iter::once(0).chain(dots.map(|(at, _)| at + 1)) {
                first = first.min(of(&self.below, &name[start..]));
            }
        }
        (first != NONE).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_exactly_or_below_a_domain() {
        let names = |texts: &[&str]| -> Vec<Name> {
            texts.iter().map(|text| Name::parse(text).unwrap()).collect()
        };
        let mut set = NameSet::default();
        set.add(&names(&[".Example.COM", "one.test."]), &[Place::Sni, Place::Host], 3);
        set.add(&names(&["a.example.com"]), &Place::ALL, 5);
        set.add(&names(&["b.example.com"]), &[Place::Sni], 1);
        for (name, place, rule) in [
            ("example.com", Place::Sni, Some(3)),
            ("x.y.example.com", Place::Host, Some(3)),
            ("a.example.com", Place::Dns, Some(5)),
            ("a.example.com", Place::Host, Some(3)),
            ("b.example.com", Place::Sni, Some(1)),
            ("notexample.com", Place::Sni, None),
            ("one.test", Place::Host, Some(3)),
            ("x.one.test", Place::Host, None),
            ("one.test", Place::Dns, None),
            ("", Place::Dns, None),
        ] {
            assert_eq!(set.first(name.as_bytes(), place), rule, "{name} {place:?}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "a..b", "a b", "http://a", "b\u{fc}cher.example", &"a".repeat(64)] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
        assert!(Name::parse("b\u{fc}cher.example").unwrap_err().contains("Punycode"));
    }

    #[test]
    fn a_list_is_read_and_all_mistakes_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        std::fs::write(&path, "\u{feff}# ads\r\na.example\r\n\r\n.b.example # all\r\n")
            .expect("a file");
        let names = Name::read_list(&path).unwrap();
        assert_eq!(
            names.iter().map(|name| (name.name.as_str(), name.below)).collect::<Vec<_>>(),
            [("a.example", false), ("b.example", true)]
        );
        std::fs::write(&path, "a b\nfine\nc/d\n").expect("a file");
        let mistakes = Name::read_list(&path).unwrap_err();
        assert!(mistakes.len() == 2 && mistakes[1].contains("list:3: "), "{mistakes:?}");
        assert!(Name::read_list(&folder.path().join("none")).unwrap_err()[0].contains("none"));
    }
}

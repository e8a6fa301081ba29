//! The lcores of an experiment, in EAL's notation: their number, and whether
//! they share CPUs.

use std::collections::BTreeSet;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use mpfwd_common::args::Pools;

/// The most lcores that an experiment uses by default.
const DEFAULT_MAX: usize = 10;

/// EAL's `--lcores`: `0-3`, `0,2`, `0@4,1@5`, `(0-9)@(0-1)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lcores {
    text: String,
    count: usize,
    cpus: usize,
}

impl Lcores {
    /// One lcore per CPU of this process, but `most` at most and two at least.
    /// With a single CPU the two share it.
    pub(super) fn of_machine(most: usize) -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let cpus: Vec<usize> = (0..CpuSet::count())
            .filter(|&cpu| allowed.is_set(cpu).unwrap_or(false))
            .take(most)
            .collect();
        Self::on(&cpus)
    }

    fn on(cpus: &[usize]) -> Self {
        match cpus {
            [] => Self { text: "(0-1)@0".into(), count: 2, cpus: 1 },
            [cpu] => Self { text: format!("(0-1)@{cpu}"), count: 2, cpus: 1 },
            _ => {
                let pairs: Vec<String> =
                    cpus.iter().enumerate().map(|(lcore, cpu)| format!("{lcore}@{cpu}")).collect();
                Self { text: pairs.join(","), count: cpus.len(), cpus: cpus.len() }
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether several lcores share a CPU.
    pub(super) fn share_cpus(&self) -> bool {
        self.cpus < self.count
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The split where none is given.
    pub(super) fn pools(&self) -> Pools {
        fitting_pools(self.count)
    }
}

/// One worker for about four polling lcores.
pub(super) fn fitting_pools(lcores: usize) -> Pools {
    let b = (lcores / 5).max(1);
    Pools { a: lcores.saturating_sub(b).max(1), b }
}

impl Default for Lcores {
    fn default() -> Self {
        Self::of_machine(DEFAULT_MAX)
    }
}

impl FromStr for Lcores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?}: write lcores as EAL takes them, for example 0-1, 0@2,1@3 or (0-9)@(0-1)"
            )
        };
        let (mut lcores, mut cpus) = (BTreeSet::new(), BTreeSet::new());
        for part in parts(text).ok_or_else(wrong)? {
            let (own, on) = part.split_once('@').unwrap_or((part, part));
            lcores.extend(numbers(own).ok_or_else(wrong)?);
            cpus.extend(numbers(on).ok_or_else(wrong)?);
        }
        Ok(Self { text: text.to_owned(), count: lcores.len(), cpus: cpus.len() })
    }
}

/// Splits at commas outside of parentheses.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    (depth == 0).then_some(parts)
}

/// `3`, `0-3`, `(0,2-3)`. EAL knows fewer lcores than the limit here.
fn numbers(text: &str) -> Option<Vec<u32>> {
    const MAX: u32 = 4096;
    let inner = text.strip_prefix('(').map_or(Some(text), |rest| rest.strip_suffix(')'))?;
    let mut all = Vec::new();
    for range in inner.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > MAX {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lcores_are_counted_as_eal_does() {
        for (text, count, shared) in [
            ("0-1", 2, false),
            ("0,2,4-6", 5, false),
            ("3", 1, false),
            ("0@2,1@3", 2, false),
            ("(0-9)@(0-1)", 10, true),
            ("(0,2)@1,3@2", 3, true),
            ("(0-1)@0", 2, true),
        ] {
            let lcores: Lcores = text.parse().unwrap();
            assert_eq!((lcores.count(), lcores.share_cpus(), lcores.text()), (count, shared, text));
        }
        for text in ["", "a", "1-0", "0-", "(0-1", "0)", "0@", "0,,1", "0-99999999"] {
            assert!(text.parse::<Lcores>().unwrap_err().contains("0-1"), "{text}");
        }
    }

    #[test]
    fn the_machine_gives_what_it_has() {
        for cpus in [&[] as &[usize], &[3], &[0, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            let lcores = Lcores::on(cpus);
            assert_eq!(lcores.text().parse(), Ok(lcores.clone()), "it reads what it writes");
            assert_eq!((lcores.count(), lcores.share_cpus()), (cpus.len().max(2), cpus.len() < 2));
            assert_eq!(lcores.pools().a + lcores.pools().b, lcores.count());
        }
        assert_eq!(Lcores::on(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).pools(), Pools { a: 8, b: 2 });
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9@(),\\-]{0,20}") {
            let _ = text.parse::<Lcores>();
        }
    }
}

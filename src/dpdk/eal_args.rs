//! EAL's arguments, read as EAL reads them, to check them before it starts.

use std::collections::BTreeSet;

/// The values of the named arguments. Short names take their value in the same
/// word, or in the next.
pub(super) fn values<'a>(
    args: &'a [String],
    names: &'a [&str],
) -> impl Iterator<Item = &'a str> + use<'a> {
    args.iter().enumerate().filter_map(move |(at, arg)| {
        names.iter().find_map(|name| match arg.strip_prefix(name)? {
            "" => args.get(at + 1).map(String::as_str),
            rest if name.starts_with("--") => rest.strip_prefix('='),
            rest => Some(rest),
        })
    })
}

/// Each lcore that the arguments name, with the CPUs that it may run on. `None`
/// if they name none, or are not well-formed: EAL says that itself.
pub(super) fn lcores(args: &[String]) -> Option<Vec<(u32, BTreeSet<u32>)>> {
    if let Some(list) = values(args, &["-l"]).last() {
        let own = |id| (id, BTreeSet::from([id]));
        return Some(numbers(list)?.into_iter().map(own).collect());
    }
    let map = values(args, &["--lcores"]).last()?;
    let mut lcores = Vec::new();
    for entry in split_outside(map)? {
        let (ids, cpus) = entry.split_once('@').map_or((entry, None), |(a, b)| (a, Some(b)));
        let is_group = ids.starts_with('(');
        let (ids, cpus) = (group(ids)?, cpus.map(group));
        let cpus = match cpus {
            Some(cpus) => Some(cpus?),
            None if is_group => Some(ids.clone()),
            None => None,
        };
        lcores.extend(
            ids.into_iter().map(|id| (id, cpus.clone().unwrap_or_else(|| BTreeSet::from([id])))),
        );
    }
    Some(lcores)
}

/// The parts between commas that stand outside of parentheses.
fn split_outside(map: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (at, byte) in map.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                parts.push(&map[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&map[start..]);
    (depth == 0).then_some(parts)
}

fn group(text: &str) -> Option<BTreeSet<u32>> {
    let inner = text.strip_prefix('(').map(|rest| rest.strip_suffix(')'));
    numbers(inner.unwrap_or(Some(text))?)
}

/// `0-3,5`.
fn numbers(list: &str) -> Option<BTreeSet<u32>> {
    /// More than any machine has, and few enough to list.
    const MOST: u32 = 1 << 16;
    let mut all = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first.max(last) >= MOST {
            return None;
        }
        all.extend(first.min(last)..=first.max(last));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::lcores;
    use mpfwd_common::text::ranges;

    #[test]
    fn lcores_and_their_cpus_are_read_as_eal_does() {
        for (line, wanted) in [
            ("mpfwd -l 0-1,3", Some("0@0 1@1 3@3")),
            ("mpfwd -l2", Some("2@2")),
            ("mpfwd --lcores 0@3,1@4", Some("0@3 1@4")),
            ("mpfwd --lcores=(0-2)@(0-1)", Some("0@0-1 1@0-1 2@0-1")),
            ("mpfwd --lcores (0,2)@1,3-4", Some("0@1 2@1 3@3 4@4")),
            ("mpfwd --lcores (0-1),2@(4,6)", Some("0@0-1 1@0-1 2@4,6")),
            ("mpfwd --lcores (0-1", None),
            ("mpfwd -l x", None),
            ("mpfwd -l 0-4294967295", None),
            ("mpfwd -m 64", None),
            ("mpfwd", None),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let read = lcores(&args).map(|lcores| {
                let lcore = |(id, cpus): (u32, BTreeSet<u32>)| {
                    format!(
                        "{id}@{}",
                        ranges(&cpus.into_iter().collect::<Vec<_>>()).replace(' ', ",")
                    )
                };
                lcores.into_iter().map(lcore).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(read.as_deref(), wanted, "{line}");
        }
    }
}

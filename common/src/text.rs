//! Formatting of figures in tables and lines.

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};

/// No line of output is longer, in characters.
pub const COLUMNS: usize = 100;

/// A table without borders, all columns aligned right. Where it would be wider
/// than `COLUMNS`, cells are wrapped.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS as u16)
        .set_header(header);
    for (at, column) in table.column_iter_mut().enumerate() {
        let last = at + 1 == header.len();
        column.set_cell_alignment(CellAlignment::Right);
        column.set_padding((0, if last { 0 } else { 2 }));
    }
    table
}

/// The line, broken at blanks where it is longer than `COLUMNS`. Lines after
/// the first are indented by two blanks more than it is.
pub fn wrapped(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let mut text = " ".repeat(indent);
    let mut width = indent;
    for (at, word) in line.split_whitespace().enumerate() {
        let length = word.chars().count();
        if at > 0 && width + 1 + length > COLUMNS {
            text += &format!("\n{}", " ".repeat(indent + 2));
            width = indent + 2;
        } else if at > 0 {
            text.push(' ');
            width += 1;
        }
        text += word;
        width += length;
    }
    text
}

/// A count in at most six characters: exact below 100,000, else three
/// significant digits.
pub fn short(count: u64) -> String {
    if count < 100_000 {
        return grouped(count);
    }
    let units = [(1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P"), (1e18, "E")];
    // 999,500 is 1.00 M, not 1000 k.
    let in_unit = |(size, _): &&(f64, _)| count as f64 / size < 999.5;
    let (size, unit) = units.iter().find(in_unit).expect("2^64 is 18 E");
    let value = count as f64 / size;
    format!("{value:.0$} {unit}", decimals(value))
}

/// Numbers in rising order, runs of them as a range: "0-3 8".
pub fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let text = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(u32::to_string).collect(),
    });
    text.collect::<Vec<_>>().join(" ")
}

/// Digits behind the point that make three significant ones, for a value from 1
/// to 1,000.
fn decimals(value: f64) -> usize {
    if value < 9.995 { 2 } else { usize::from(value < 99.95) }
}

/// A count with its digits in groups of three.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with three significant digits and its unit.
pub fn time(ns: u64) -> String {
    let (value, unit) = time_parts(ns);
    format!("{value} {unit}")
}

/// Two times as a range, with one unit where both have the same: "1.15..1.20
/// us".
pub fn time_range(from_ns: u64, to_ns: u64) -> String {
    let ((from, from_unit), (to, to_unit)) = (time_parts(from_ns), time_parts(to_ns));
    match from_unit == to_unit {
        true => format!("{from}..{to} {to_unit}"),
        false => format!("{from} {from_unit}..{to} {to_unit}"),
    }
}

fn time_parts(ns: u64) -> (String, &'static str) {
    let (value, unit) = match ns {
        0..1_000 => return (ns.to_string(), "ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    (format!("{value:.0$}", decimals(value)), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [7, 1_234, 12_340, 123_400, 9_999_000, 2_000_000_000].map(time),
            ["7 ns", "1.23 us", "12.3 us", "123 us", "10.0 ms", "2.00 s"]
        );
        assert_eq!(time_range(1_150, 12_000), "1.15..12.0 us");
        assert_eq!(time_range(900, 1_200), "900 ns..1.20 us");
    }
    #[test]
    fn short_counts_have_at_most_six_characters() {
        assert_eq!(
            [0, 99_999, 100_000, 999_499, 999_500, 12_345_678, 2_000_000_000, u64::MAX].map(short),
            ["0", "99,999", "100 k", "999 k", "1.00 M", "12.3 M", "2.00 G", "18.4 E"]
        );
    }

    #[test]
    fn runs_of_numbers_are_ranges() {
        assert_eq!(
            [&[] as &[u32], &[7], &[0, 1, 2, 3, 8], &[1, 3, 4]].map(ranges),
            ["", "7", "0-3 8", "1 3-4"]
        );
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let words = "  latency: ".to_owned() + &"word ".repeat(50);
        let text = wrapped(&words);
        assert!(text.lines().count() == 3 && text.starts_with("  latency: word word"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word")), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert_eq!(text.split_whitespace().count(), 51);
        assert_eq!(wrapped("short"), "short");

        let mut wide = table(&["name", "text"]);
        wide.add_row(["x".repeat(70), "y".repeat(70)]);
        let text = wide.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }
}

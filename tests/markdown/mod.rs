//! docs/flags.md, made of clap's declarations.

use std::fmt::Write;

use clap::{Arg, Command};

/// A page for `docs/`: usage, a table of arguments per heading, and what stands
/// behind them in `--help`.
pub fn page(command: &mut Command) -> String {
    command.build();
    let name = command.get_name().to_owned();
    let mut text = format!("# {name}'s command line\n\n");
    let usage = command.render_usage().to_string();
    let _ = writeln!(text, "    {}\n", usage.trim_start_matches("Usage: "));
    let _ = writeln!(text, "`{name} -h` prints a line per argument, `{name} --help` all of this.");
    let visible = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let mut headings: Vec<&str> = Vec::new();
    for heading in visible().filter_map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        let _ = writeln!(text, "\n## {heading}\n\n| Argument | Default | |\n|---|---|---|");
        visible()
            .filter(|arg| arg.get_help_heading() == Some(heading))
            .for_each(|arg| text.push_str(&row(arg)));
    }
    if let Some(after) = command.get_after_help() {
        let _ = writeln!(text, "\n## EAL arguments, examples, exit codes\n");
        for line in after.to_string().lines() {
            let _ = writeln!(text, "{}", format!("    {line}").trim_end());
        }
    }
    text
}

fn row(arg: &Arg) -> String {
    let values = arg.get_possible_values();
    let values: Vec<_> = values.iter().filter(|_| arg.get_action().takes_values()).collect();
    let mut flag = arg.get_short().map_or(String::new(), |short| format!("`-{short}`, "));
    flag += &format!("`--{}", arg.get_long().unwrap_or_default());
    if !values.is_empty() {
        flag +=
            &format!(" {}", values.iter().map(|v| v.get_name()).collect::<Vec<_>>().join("\\|"));
    } else if let Some(names) = arg.get_value_names().filter(|_| arg.get_action().takes_values()) {
        flag += &format!(" {}", names.join(" ").replace('|', "\\|"));
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (what, told) = match help.split_once(" [default: ") {
        Some((what, default)) => (what.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let default = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = default.filter(|_| arg.get_action().takes_values()).chain([told.into()]);
    let mut text = vec![what];
    for value in values.iter().filter(|value| value.get_help().is_some()) {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        text.push(format!("`{}`: {help}", value.get_name()));
    }
    let long = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
    text.extend(long.split("\n\n").skip(1).map(str::to_owned));
    format!(
        "| {flag}` | {} | {} |\n",
        marked_up(&default.collect::<String>()),
        text.iter().map(|line| marked_up(line)).collect::<Vec<_>>().join("<br>")
    )
}

/// Flags as code, pages of `docs/` as links, and no character that ends a cell.
fn marked_up(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches(['.', ',', ';', ':']);
        let rest = &word[bare.len()..];
        match bare.strip_prefix("docs/").and_then(|page| page.strip_suffix(".md")) {
            Some(page) => format!("[{page}]({page}.md){rest}"),
            None if bare.starts_with("--") || bare.contains('=') => format!("`{bare}`{rest}"),
            None => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

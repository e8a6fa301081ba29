//! Man pages and shell completions, made of the same declarations as `--help`.

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

/// The texts that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    Man,
    Bash,
    Zsh,
    Fish,
}

impl Generated {
    /// The text for `command`. `section`: the section of the manual.
    pub fn of(self, mut command: Command, section: u8) -> String {
        let mut text = Vec::new();
        let shell = match self {
            Self::Man => {
                man(command, section, &mut text).expect("a vector takes all");
                return String::from_utf8_lossy(&text).into_owned();
            }
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        let name = command.get_name().to_owned();
        clap_complete::generate(shell, &mut command, name, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// One page, with the arguments of subcommands in sections of their own.
fn man(mut command: Command, section: u8, page: &mut Vec<u8>) -> std::io::Result<()> {
    command.build();
    let subcommands: Vec<Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let whole = Man::new(command).section(section.to_string());
    if subcommands.is_empty() {
        return whole.render(page);
    }
    whole.render_title(page)?;
    whole.render_name_section(page)?;
    whole.render_synopsis_section(page)?;
    whole.render_options_section(page)?;
    for subcommand in subcommands.into_iter().filter(|sub| sub.get_name() != "help") {
        let name = subcommand.get_name().to_owned();
        let part = Man::new(subcommand);
        let mut text = Vec::new();
        part.render_description_section(&mut text)?;
        part.render_options_section(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let text = text.replacen(".SH DESCRIPTION", &format!(".SH {}", name.to_uppercase()), 1);
        page.extend_from_slice(text.replacen(".SH OPTIONS\n", "", 1).as_bytes());
    }
    whole.render_version_section(page)
}

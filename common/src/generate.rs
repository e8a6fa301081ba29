//! Man pages and shell completions, made of the same declarations as `--help`.

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    Man,
    Bash,
    Zsh,
    Fish,
}

impl Generated {
    /// Its text for `command`. `section`: of the manual that the page is in.
    pub fn of(self, mut command: Command, section: u8) -> String {
        let mut text = Vec::new();
        let shell = match self {
            Self::Man => {
                let page = clap_mangen::Man::new(command).section(section.to_string());
                page.render(&mut text).expect("a vector takes all");
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

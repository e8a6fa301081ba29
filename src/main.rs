//! Splits the command line at `--`: EAL's arguments, then mpfwd's own. Exit codes: 0 fine, 1 the report could not be written, 2 bad
//! input, 3 the conservation check failed.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match mpfwd::app::main(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mpfwd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

//! Splits the command line at `--`: EAL's arguments, then mpfwd's own. Exit
//! codes: 0 fine, 1 the report could not be written, 2 bad input, 3 the
//! conservation check failed.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match mpfwd::app::main(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever reads it may be gone, and the exit code has to come all
            // the same.
            let _ = writeln!(std::io::stderr(), "mpfwd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

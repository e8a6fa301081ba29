//! The program: runs [`mpfwd::app::main`], prints its error, and turns it into
//! the exit code.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match mpfwd::app::main(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The reader may be gone. The exit code matters all the same.
            let _ = writeln!(std::io::stderr(), "mpfwd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

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
            for line in error.to_string().lines() {
                let _ = writeln!(std::io::stderr(), "mpfwd: {line}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

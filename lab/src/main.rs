//! mplab: experiments without a NIC. Exit codes: 0 success, 1 a file could not
//! be written, 2 bad input or nothing was measured, 4 some rounds failed and the
//! others were shown and written.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match mplab::main(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read it: the exit code says it too.
            let _ = writeln!(std::io::stderr(), "mplab: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

//! mpctl: watches and steers a running mpfwd. Exit codes: 0 success, 1 mpfwd
//! answered that it is not so, 2 bad input, or no mpfwd answers.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match mpctl::main(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            // The reader may be gone. The exit code matters all the same.
            let _ = writeln!(std::io::stderr(), "mpctl: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

//! Experiments without a NIC: the same traffic in every mode, side by side;
//! tables, JSON, pictures. All of it is in the library's `lab`. Exit codes: 0
//! fine, 1 a file could not be written, 2 bad input, or nothing could be
//! measured, 4 rounds failed, and the others were shown and written.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match mplab::main(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mplab: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

//! What the build scripts below `ffi/` share: an error of one line, pkg-config,
//! and bindings by an allow-list.

use std::path::PathBuf;
use std::process::{Command, Output, exit};

/// Prints one line, with the missing thing and the package that provides it.
/// Cargo prints it as an error of the package and gives up. If the script
/// failed by itself, cargo would print all its other output, too.
pub fn fail(line: &str) -> ! {
    println!("cargo::error={line}");
    exit(0)
}

/// pkg-config's answer about `library`. `missing`: the error if it does not
/// know the library.
pub fn pkg_config(library: &str, args: &[&str], missing: &str) -> String {
    let text = |output: Output| String::from_utf8_lossy(&output.stdout).into_owned();
    match Command::new("pkg-config").args(args).arg(library).output() {
        Ok(output) if output.status.success() => text(output),
        Ok(_) => fail(missing),
        Err(_) => fail(
            "pkg-config is missing: install it (Debian, Ubuntu: apt-get install pkg-config \
             libdpdk-dev libvectorscan-dev libclang-dev)",
        ),
    }
}

/// Writes bindings of exactly these functions and variables to `bindings.rs` in
/// `OUT_DIR`.
///
/// # Errors
/// bindgen's, when it can't read the headers.
pub fn bind(
    header: bindgen::Builder,
    functions: &[&str],
    variables: &[&str],
) -> Result<(), bindgen::BindgenError> {
    if clang_sys::load().is_err() {
        fail("libclang is missing: install it (Debian, Ubuntu: apt-get install libclang-dev)");
    }
    let mut builder = header.layout_tests(false).generate_comments(false);
    for function in functions {
        builder = builder.allowlist_function(function);
    }
    for variable in variables {
        builder = builder.allowlist_var(variable);
    }
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    builder.generate()?.write_to_file(folder.join("bindings.rs")).expect("OUT_DIR is writable");
    Ok(())
}

//! pkg-config -> bindgen. Finds Vectorscan, binds the allow-list below, and
//! links the shared object, which picks its code by the CPU when it is loaded.

use std::path::PathBuf;
use std::process::{Command, exit};

const FUNCTIONS: &[&str] = &[
    "hs_alloc_scratch",
    "hs_close_stream",
    "hs_compile_lit_multi",
    "hs_compile_multi",
    "hs_database_size",
    "hs_expression_info",
    "hs_free_compile_error",
    "hs_free_database",
    "hs_free_scratch",
    "hs_open_stream",
    "hs_reset_stream",
    "hs_scan",
    "hs_scan_stream",
    "hs_stream_size",
    "hs_valid_platform",
];

const VARIABLES: &[&str] = &[
    "HS_ARCH_ERROR",
    "HS_COMPILER_ERROR",
    "HS_FLAG_SINGLEMATCH",
    "HS_MODE_BLOCK",
    "HS_MODE_STREAM",
    "HS_NOMEM",
    "HS_SCAN_TERMINATED",
    "HS_SUCCESS",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    let include = pkg_config("--cflags");
    for word in pkg_config("--libs").split_whitespace() {
        if let Some(folder) = word.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={folder}");
        } else if let Some(name) = word.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={name}");
        }
    }
    if clang_sys::load().is_err() {
        fail("libclang is missing: install it (Debian, Ubuntu: apt-get install libclang-dev)");
    }
    let mut builder = bindgen::Builder::default()
        .header_contents("wrapper.h", "#include <hs.h>")
        .clang_args(include.split_whitespace())
        .layout_tests(false)
        .generate_comments(false);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for variable in VARIABLES {
        builder = builder.allowlist_var(variable);
    }
    let out =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    match builder.generate() {
        Ok(bindings) => bindings.write_to_file(out).expect("OUT_DIR is writable"),
        Err(error) => fail(&format!(
            "bindgen could not read Vectorscan's headers: {}",
            error.to_string().lines().next().unwrap_or_default()
        )),
    }
}

/// Prints one line, which cargo shows as an error of this package.
fn fail(line: &str) -> ! {
    println!("cargo::error={line}");
    exit(0)
}

fn pkg_config(what: &str) -> String {
    let output = Command::new("pkg-config").args([what, "libhs"]).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => fail(
            "Vectorscan's development files are missing (pkg-config finds no libhs): install them \
             (Debian, Ubuntu: apt-get install pkg-config libvectorscan-dev)",
        ),
    }
}

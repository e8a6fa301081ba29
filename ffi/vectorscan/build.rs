//! pkg-config -> bindgen. Finds Vectorscan, binds the allow-list below, and
//! links the shared object, which picks its code by the CPU when it is loaded.

#[path = "../bind.rs"]
mod bind;

use bind::{bind, fail};

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
    for file in ["build.rs", "../bind.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    let include = pkg_config("--cflags");
    for word in pkg_config("--libs").split_whitespace() {
        if let Some(folder) = word.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={folder}");
        } else if let Some(name) = word.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={name}");
        }
    }
    let header = bindgen::Builder::default()
        .header_contents("wrapper.h", "#include <hs.h>")
        .clang_args(include.split_whitespace());
    if let Err(error) = bind(header, FUNCTIONS, VARIABLES) {
        fail(&format!(
            "bindgen could not read Vectorscan's headers: {}",
            error.to_string().lines().next().unwrap_or_default()
        ));
    }
}

fn pkg_config(what: &str) -> String {
    bind::pkg_config(
        "libhs",
        &[what],
        "Vectorscan's development files are missing (pkg-config finds no libhs): install them \
         (Debian, Ubuntu: apt-get install libvectorscan-dev)",
    )
}

//! pkg-config -> bindgen -> cc. Finds DPDK, binds the allow-lists below,
//! compiles shim.c, and passes the linker's arguments to the package that
//! depends on this one (`links = "dpdk"`: a dependency's own `rustc-link-arg`
//! does not reach the binary).

use std::path::Path;
use std::process::Command;

#[path = "bind.rs"]
mod bind;

use bind::fail;

/// The oldest tested version: Debian 12's.
const OLDEST_DPDK: (u32, u32) = (22, 11);

/// Drivers of the static link, each linked whole because a driver is reached
/// only through its constructor. Drivers that the installed DPDK lacks are left
/// out.
const DRIVERS: &[&str] = &[
    // Not a driver; but its device class, through which a NIC's port is found,
    // is also reached only through a constructor.
    "ethdev",
    "bus_auxiliary",
    "bus_pci",
    "bus_vdev",
    "bus_vmbus",
    "mempool_ring",
    "mempool_stack",
    // Virtual devices and host interfaces.
    "net_af_packet",
    "net_af_xdp",
    "net_bond",
    "net_failsafe",
    "net_memif",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_tap",
    "net_vdev_netvsc",
    "net_vhost",
    // Virtual machines and clouds.
    "net_avp",
    "net_ena",
    "net_gve",
    "net_netvsc",
    "net_virtio",
    "net_vmxnet3",
    // NICs.
    "common_iavf",
    "common_idpf",
    "common_mlx5",
    "common_sfc_efx",
    "net_ark",
    "net_atlantic",
    "net_axgbe",
    "net_bnx2x",
    "net_bnxt",
    "net_cxgbe",
    "net_e1000",
    "net_enic",
    "net_fm10k",
    "net_hinic",
    "net_hns3",
    "net_i40e",
    "net_iavf",
    "net_ice",
    "net_idpf",
    "net_igc",
    "net_ionic",
    "net_ixgbe",
    "net_mlx4",
    "net_mlx5",
    "net_nfp",
    "net_ngbe",
    "net_qede",
    "net_sfc",
    "net_txgbe",
];

const FUNCTIONS: &[&str] = &[
    "mpfwd_.*",
    "rte_eal_cleanup",
    "rte_mbuf_user_mempool_ops",
    "rte_eal_get_runtime_dir",
    "rte_eal_has_hugepages",
    "rte_eal_process_type",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_get_main_lcore",
    "rte_get_next_lcore",
    "rte_get_tsc_hz",
    "rte_lcore_to_socket_id",
    "rte_socket_count",
    "rte_strerror",
    "rte_telemetry_register_cmd",
    "rte_eth_add_rx_callback",
    "rte_eth_remove_rx_callback",
    "rte_eth_call_rx_callbacks",
    "rte_eth_call_tx_callbacks",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_callback_register",
    "rte_eth_dev_callback_unregister",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_timesync_enable",
    "rte_eth_tx_queue_setup",
    "rte_eth_from_rings",
    "rte_fib_add",
    "rte_fib_free",
    "rte_fib_lookup_bulk",
    "rte_fib6_free",
    "rte_mbuf_dyn_rx_timestamp_register",
    "rte_mbuf_dynfield_register",
    "rte_mbuf_dynflag_register",
    "rte_free",
    "rte_pktmbuf_free_bulk",
    "rte_mempool_avail_count",
    "rte_mempool_calc_obj_size",
    "rte_mempool_free",
    "rte_ring_create",
    "rte_ring_free",
];

const VARIABLES: &[&str] = &["MPFWD_.*", "rte_eth_fp_ops"];

fn main() {
    for file in ["build.rs", "bind.rs", "wrapper.h", "shim.h", "shim.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    for variable in ["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let version = pkg_config(&["--modversion"]).trim().to_owned();
    check_version(&version);
    let cflags = words(&pkg_config(&["--cflags"]));
    let static_link = std::env::var_os("CARGO_FEATURE_SHARED").is_none();
    let link_args = if static_link { static_args() } else { shared_args() };

    bind(&cflags);
    let mut shim = cc::Build::new();
    shim.file("shim.c").opt_level(3).flag_if_supported("-Wno-deprecated-declarations");
    for flag in &cflags {
        shim.flag(flag);
    }
    shim.compile("mpfwd_shim");

    println!("cargo::metadata=version={version}");
    println!("cargo::metadata=link={}", if static_link { "static" } else { "shared" });
    println!("cargo::metadata=link_args={}", link_args.join("\u{1f}"));
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn pkg_config(args: &[&str]) -> String {
    bind::pkg_config(
        "libdpdk",
        args,
        "DPDK's development files are missing (pkg-config finds no libdpdk): install them (Debian, Ubuntu: apt-get install libdpdk-dev; \
         a DPDK of your own: set PKG_CONFIG_PATH)",
    )
}

fn check_version(version: &str) {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse().ok());
    let found = numbers.next().zip(numbers.next());
    if found.is_some_and(|found: (u32, u32)| found < OLDEST_DPDK) {
        let (year, month) = OLDEST_DPDK;
        fail(&format!(
            "DPDK {version} is too old: install {year}.{month} or newer, or set PKG_CONFIG_PATH to the folder of one (libdpdk.pc)"
        ));
    }
}

fn bind(cflags: &[String]) {
    let header = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .prepend_enum_name(false)
        // Used only through pointers and by the offsets in wrapper.h.
        .opaque_type("rte_(fib|fib6|mbuf|mempool|ring)")
        .opaque_type("rte_(device|bus)");
    if let Err(error) = bind::bind(header, FUNCTIONS, VARIABLES) {
        fail(&unreadable(&error.to_string()));
    }
}

/// Names the missing header. libclang without clang's own headers is a common
/// incomplete installation.
fn unreadable(error: &str) -> String {
    let missing =
        error.split_once("' file not found").and_then(|(before, _)| before.rsplit('\'').next());
    match missing {
        Some(header) if header.starts_with("rte_") => {
            format!("DPDK's headers are incomplete: {header} is missing")
        }
        Some(header) => format!(
            "libclang does not find {header}, a header of clang or of the C library: install them (Debian, Ubuntu: apt-get install \
             libclang-dev libc6-dev)"
        ),
        None => {
            let why = error
                .lines()
                .find(|line| line.contains("error: "))
                .or(error.lines().next())
                .unwrap_or_default();
            format!("bindgen could not read DPDK's headers: {why}")
        }
    }
}

/// The libraries that pkg-config names. EAL loads the drivers, but net_ring
/// also has a function that mpfwd calls.
fn shared_args() -> Vec<String> {
    let mut args = words(&pkg_config(&["--libs"]));
    args.extend(["-Wl,--as-needed", "-lrte_net_ring"].map(str::to_owned));
    args
}

/// The drivers whole, then every archive and system library that pkg-config
/// names. The linker picks the referenced parts.
fn static_args() -> Vec<String> {
    let lib_dir = pkg_config(&["--variable=libdir"]);
    let lib_dir = Path::new(lib_dir.trim());
    if !lib_dir.join("librte_eal.a").exists() {
        fail("this DPDK has no static archives: build with --features shared");
    }
    let mut args = vec![format!("-L{}", lib_dir.display()), "-Wl,--whole-archive".to_owned()];
    args.extend(
        DRIVERS
            .iter()
            .map(|name| format!("librte_{name}.a"))
            .filter(|name| lib_dir.join(name).exists())
            .map(|name| format!("-l:{name}")),
    );
    args.extend(
        ["-Wl,--no-whole-archive", "-Wl,--as-needed", "-Wl,--start-group"].map(str::to_owned),
    );
    let named = words(&pkg_config(&["--static", "--libs"]));
    let archives = named.iter().filter(|word| word.starts_with("-l:librte_"));
    let system = named.iter().filter(|word| {
        word.starts_with("-l") && !word.starts_with("-l:") && !word.starts_with("-lrte_")
    });
    let mut seen = std::collections::HashSet::new();
    args.extend(
        archives
            .chain(system.filter(|word| linkable(word)))
            .filter(|word| seen.insert(word.as_str()))
            .cloned(),
    );
    args.push("-Wl,--end-group".to_owned());
    args
}

/// Whether the library is installed: pkg-config also names libraries of
/// libraries (libsystemd, for libpcap's D-Bus) that need not be.
fn linkable(word: &str) -> bool {
    let name = &word[2..];
    [format!("lib{name}.so"), format!("lib{name}.a")].iter().any(|file| {
        let found = Command::new("cc").arg(format!("-print-file-name={file}")).output();
        found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() != file)
    })
}

//! EAL's arguments, for configuration files: their names, and what they take.

/// How many values an argument of EAL takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    One,
    /// It may be given several times.
    Many,
}

/// One of EAL's arguments.
pub(super) struct EalArgument {
    /// Without dashes; those of one letter are short. The first one is the
    /// usual one. A name replaces the others of its row.
    pub names: &'static [&'static str],
    pub takes: Takes,
    /// A value, and a line for the example; none for what is seldom used.
    pub example: Option<(&'static str, &'static str)>,
}

const fn row(names: &'static [&'static str], takes: Takes) -> EalArgument {
    EalArgument { names, takes, example: None }
}

const fn common(
    names: &'static [&'static str],
    takes: Takes,
    value: &'static str,
    line: &'static str,
) -> EalArgument {
    EalArgument { names, takes, example: Some((value, line)) }
}

/// All of DPDK 22.11 to 26.07 that a primary process has.
pub(super) const EAL: &[EalArgument] = &[
    common(
        &["l", "lcores", "c", "coremask"],
        Takes::One,
        "\"0-9\"",
        "Lcores; with lcores = \"(0-9)@(0-1)\" on other CPUs",
    ),
    common(&["main-lcore"], Takes::One, "0", "The main lcore"),
    common(&["a", "allow"], Takes::Many, "[\"0000:01:00.0\"]", "NICs to use"),
    common(&["b", "block"], Takes::Many, "[\"0000:01:00.1\"]", "NICs to leave alone"),
    common(&["vdev"], Takes::Many, "[\"net_null0\", \"net_null1\"]", "Virtual ports"),
    common(&["no-pci"], Takes::Nothing, "true", "Look at no PCI device"),
    common(&["file-prefix"], Takes::One, "\"mpfwd\"", "Name of this instance, unique per machine"),
    common(
        &["m", "socket-mem", "memory-size", "numa-mem"],
        Takes::One,
        "1024",
        "MiB at the start; socket-mem = \"1024,1024\" by socket",
    ),
    common(&["socket-limit", "numa-limit"], Takes::One, "\"2048,2048\"", "MiB at most, by socket"),
    common(&["no-huge"], Takes::Nothing, "true", "No hugepages"),
    common(&["in-memory"], Takes::Nothing, "true", "No files; no secondary processes"),
    common(&["huge-dir"], Takes::One, "\"/dev/hugepages\"", "Where hugepages are mounted"),
    common(&["huge-unlink"], Takes::One, "\"never\"", "Keep hugepages for a faster next start"),
    common(&["no-shconf"], Takes::Nothing, "true", "No shared configuration files"),
    common(&["no-telemetry"], Takes::Nothing, "true", "No telemetry socket"),
    common(&["iova-mode"], Takes::One, "\"va\"", "Addresses for devices: va or pa"),
    common(&["log-level"], Takes::Many, "[\"lib.eal:info\"]", "DPDK's log levels"),
    row(&["d", "driver-path"], Takes::Many),
    row(&["n", "memory-channels"], Takes::One),
    row(&["r", "memory-ranks"], Takes::One),
    row(&["s", "service-coremask", "S", "service-corelist"], Takes::One),
    row(&["base-virtaddr"], Takes::One),
    row(&["create-uio-dev"], Takes::Nothing),
    row(&["force-max-simd-bitwidth"], Takes::One),
    row(&["legacy-mem"], Takes::Nothing),
    row(&["match-allocations"], Takes::Nothing),
    row(&["mbuf-pool-ops-name"], Takes::One),
    row(&["no-hpet"], Takes::Nothing),
    row(&["proc-type"], Takes::One),
    row(&["single-file-segments"], Takes::Nothing),
    row(&["syslog"], Takes::One),
    row(&["telemetry"], Takes::Nothing),
    row(&["trace"], Takes::Many),
    row(&["trace-bufsz"], Takes::One),
    row(&["trace-dir"], Takes::One),
    row(&["trace-mode"], Takes::One),
    row(&["vfio-intr"], Takes::One),
    row(&["vfio-vf-token"], Takes::One),
    row(&["vmware-tsc-map"], Takes::Nothing),
];

/// The row that has this name.
pub(super) fn eal_argument(name: &str) -> Option<&'static EalArgument> {
    EAL.iter().find(|row| row.names.contains(&name))
}

/// As EAL wants it: `-l`, `--vdev`.
pub(super) fn dashed(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

/// Whether a word of the command line is this argument, with or without a
/// value.
pub(super) fn is_word_of(word: &str, name: &str) -> bool {
    let dashed = dashed(name);
    match word.strip_prefix(&dashed) {
        Some("") => true,
        Some(rest) => name.len() == 1 || rest.starts_with('='),
        None => false,
    }
}

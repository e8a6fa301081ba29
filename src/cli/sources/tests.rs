use std::path::Path;

use super::Merged;
use crate::cli::example::example;
use crate::cli::setting::is_given;

fn merged(text: &str, environment: &[(&str, &str)], line: &str) -> Merged {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (eal, own) = (&words[..at], words.get(at + 1..).unwrap_or_default());
    let mut merged = Merged::new(None, eal, own).expect("there is no file");
    merged.file = Some(Path::new("f").to_owned());
    merged.read_file(text);
    merged.read_environment(|name| {
        let variable = environment.iter().find(|(variable, _)| *variable == name);
        variable.map(|(_, value)| (*value).to_owned())
    });
    merged.settings.retain(|setting| !is_given(setting, eal, own));
    merged
}

#[test]
fn a_later_source_replaces_an_argument_as_a_whole() {
    let file = "pools = \"3:1\"\nburst = 16\nsteal-rx = false\npromiscuous = true\n\
                eth-peer = [\"0,02:00:00:00:00:07\", \"1,02:00:00:00:00:08\"]\n\
                [eal]\nl = \"0-3\"\nvdev = [\"net_null0\", \"net_null1\"]\nno-pci = true\n";
    let merged = merged(
        file,
        &[("MPFWD_BURST", "8"), ("MPFWD_POOLS", "2:2"), ("MPFWD_EAL_NO_PCI", "0")],
        "mpfwd --lcores 0@1,1@2 -- --pools=1:1",
    );
    assert_eq!(merged.mistakes, [""; 0]);
    let (eal, own) = merged.words();
    assert_eq!(eal.join(" "), "mpfwd --vdev net_null0 --vdev net_null1 --lcores 0@1,1@2");
    assert_eq!(
        own.join(" "),
        "--promiscuous --eth-peer=0,02:00:00:00:00:07 --eth-peer=1,02:00:00:00:00:08 --burst=8 --pools=1:1"
    );
    let shown = merged.shown();
    for (start, end) in [
        ("burst = 8 ", "# MPFWD_BURST"),
        ("pools = \"1:1\" ", "# command line"),
        ("promiscuous = true ", "# f:4"),
        ("rxd = 1024 ", "# default"),
        ("lcores = \"0@1,1@2\" ", "# command line"),
        ("vdev = [\"net_null0\", \"net_null1\"]", "# f:8"),
    ] {
        let is = |line: &str| line.starts_with(start) && line.ends_with(end);
        assert!(shown.lines().any(is), "{start}{end}: {shown}");
    }
}

#[test]
fn all_mistakes_are_found_with_their_places() {
    let file = "pols = \"3:1\"\nburst = 600\n  idle = \"spni\"\nmbufs = true\nl = \"0-3\"\n\
                config-file = \"g\"\nsteal-rx = 1\nrxq = [1, 2]\n[eal]\nvdve = \"net_null0\"\n\
                no-huge = \"yes\"\n[own]\n";
    let merged = merged(file, &[("MPFWD_RXD", "1")], "mpfwd");
    for (start, says) in [
        ("f:1:1: ", "'--pools'"),
        ("f:2:1: ", "1..=512"),
        ("f:3:3: ", "'spin'"),
        ("f:4:1: ", "in quotes"),
        ("f:5:1: ", "below [eal]"),
        ("f:6:1: ", "no place in a file"),
        ("f:7:1: ", "true or false"),
        ("f:8:1: ", "not a list"),
        ("f:10:1: ", "no argument --vdve"),
        ("f:11:1: ", "true or false"),
        ("f:12:2: ", "the only table"),
        ("MPFWD_RXD: ", "32"),
    ] {
        let is = |mistake: &&String| mistake.starts_with(start);
        let found = merged.mistakes.iter().find(is);
        assert!(found.is_some_and(|mistake| mistake.contains(says)), "{:#?}", merged.mistakes);
    }
    assert_eq!(merged.mistakes.len(), 12, "{:#?}", merged.mistakes);
}

#[test]
fn a_file_that_is_not_toml_is_one_mistake() {
    for (text, start) in [("a = \n", "f:1:"), ("burst = 1\nburst = 2\n", "f:2:1: ")] {
        let merged = merged(text, &[], "mpfwd");
        let [mistake] = &merged.mistakes[..] else { panic!("{:?}", merged.mistakes) };
        assert!(mistake.starts_with(start), "{mistake}");
    }
}

#[test]
fn the_example_is_a_file_without_mistakes() {
    let text = example();
    let merged = merged(&text, &[], "mpfwd");
    assert_eq!((merged.mistakes.len(), merged.settings.len()), (0, 0));
    assert!(text.contains("\n#burst = 32\n") && text.contains("\n#l = \"0-9\"\n"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    // Those of EAL's arguments are values, too.
    let of_eal = text.split_once("\n[eal]\n").expect("it has the table").1;
    let switched_on: String = of_eal
        .lines()
        .map(|line| line.strip_prefix('#').filter(|line| line.contains(" = ")).unwrap_or(""))
        .filter(|line| !line.starts_with(' '))
        .flat_map(|line| [line, "\n"])
        .collect();
    let merged = self::merged(&format!("[eal]\n{switched_on}"), &[], "mpfwd");
    assert_eq!(merged.mistakes, [""; 0], "{switched_on}");
    assert_eq!(merged.settings.len(), switched_on.matches(" = ").count());
}

use proptest::prelude::*;

use super::*;

fn read(line: &str) -> std::result::Result<Cli, String> {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Cli::read(&args).map(|cli| cli.expect("no help asked for")).map_err(|error| error.to_string())
}

#[test]
fn the_main_job() {
    let cli = read("--pools 8:2 --forward-mode macswap --config (0,0,1),(1,0,2) --eth-peer 1,02:00:00:00:00:07 --duration 1.5").unwrap();
    assert_eq!(cli.pools, Some(PoolsArg::Fixed(Pools { a: 8, b: 2 })));
    assert_eq!(cli.config.unwrap().0[1], QueueOf { port: 1, queue: 0, lcore: 2 });
    assert_eq!(cli.eth_peer[0].port, 1);
    assert_eq!(cli.duration, Some(Duration::from_millis(1500)));
}

#[test]
fn work_is_read_with_units() {
    let alike = read("--work spin:cheap=200ns").unwrap().work.unwrap();
    assert_eq!(alike.expensive, alike.cheap, "all packets cost the same");
    let work = read("--work spin:cheap=200ns,expensive=100us,p=0.0001").unwrap().work.unwrap();
    assert_eq!(
        (work.cheap, work.expensive, work.p),
        (Duration::from_nanos(200), Duration::from_micros(100), 0.0001)
    );
}

#[test]
fn bad_input_is_one_line_that_says_what_to_write() {
    for (line, says) in [
        ("--pools 8", "A:B"),
        ("--pools 0:2", "each pool needs an lcore"),
        ("--mode pool", "'pools'"),
        ("--mode stael", "; a similar value exists: 'steal'"),
        ("--mode steal --steal-every 0", "61"),
        ("--mode steal --steal-every x", "61"),
        ("--grow triple", "double, append"),
        ("--shard-pick newest", "oldest, two-choice, random, round-robin, affine"),
        ("--rescue-after 20", "20us"),
        ("--runq-max 0", "1..="),
        ("--forward-mode macswp", "'macswap'"),
        ("--on-full wait", "drop, run"),
        ("--dpi-pkts 0", "1.."),
        ("--flows 0", "1..="),
        ("--flow-timeout 60", "unit"),
        ("--yield-after 10", "unit"),
        ("--predict mean", "none, last, ewma"),
        ("--config 0,0,1", "(port,queue,lcore)"),
        ("--portmask 0", "0x1"),
        ("--burst 0", "1..=512"),
        ("--eth-peer 0", "PORT,MAC"),
        ("--eth-peer 0,ff:ff:ff:ff:ff:ff", "one station"),
        ("--eth-peer 0,00:00:00:00:00:00", "one station"),
        ("--work loop", "spin:"),
        ("--work spin:p=2", "from 0 to 1"),
        ("--work spin:cheap=200", "unit"),
        ("--work spin:cheap=2us,expensive=1us", "swap"),
        ("--duration 0", "above 0"),
        ("--duration -1", "above 0"),
        ("--duration 1e19", "100 years"),
        ("--duration inf", "100 years"),
        ("--stats-period 1e300", "100 years"),
        ("--rescue-after 101years", "100 years"),
        ("--rescue-after 99999999999999999999years", "unit"),
        ("--work spin:cheap=101years", "100 years"),
        ("--duration NaN", "above 0"),
        ("--durations 1", "--duration"),
        ("8:2", "8:2"),
    ] {
        let message = read(line).unwrap_err();
        assert!(message.contains(says) && !message.contains('\n'), "{line}: {message}");
    }
}

#[test]
fn the_longest_time_fits_every_clock() {
    let cli = read("--duration 100years --pools 1:1 --rescue-after 100years").unwrap();
    assert!(std::time::Instant::now().checked_add(cli.duration.unwrap()).is_some());
    // In ticks of 5 GHz.
    assert!(u64::try_from(cli.rescue_after.unwrap().as_nanos() * 5).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
        let _ = (text.parse::<Pools>(), text.parse::<QueueMap>(), text.parse::<EthPeer>(), text.parse::<Work>());
        let _ = (parse_mask(&text), parse_seconds(&text), parse_every(&text), parse_time(&text));
        let _ = format!("spin:{text}").parse::<Work>();
    }
}

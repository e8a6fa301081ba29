//! EAL inside the test's own process, with net_ring ports whose packets the
//! test puts in and takes out one by one. EAL's main lcore is the thread that
//! starts the lab; a second thread moves packets meanwhile.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mpfwd::app::{self, Host};
use mpfwd::cli::Cli;
use mpfwd::dpdk::{
    BURST_MAX, Burst, Eal, Mbuf, Mempool, PoolSize, PortInfo, Reuse, RxTxRing, find_ports,
};
use mpfwd::engine::{Engine, EngineSetup};
use mpfwd::stats::Report;

use crate::common::{self, Leftovers, words};

/// The longest frame that fits into one buffer.
const ROOM: u16 = 9600;

pub struct Lab {
    pool: Mempool,
    eal: Eal,
    host: Host,
    runs: u32,
    _leftovers: Leftovers,
}

/// net_ring ports. Of two, packets that arrive by one leave by the other.
pub struct Wires<const PORTS: usize = 2> {
    pub rings: [RxTxRing; PORTS],
    pub ports: [PortInfo; PORTS],
}

impl Lab {
    pub fn start(lcores: usize) -> Self {
        Self::start_with(lcores, None)
    }

    /// As `start`; the runs answer at this UNIX socket.
    pub fn start_with(lcores: usize, socket: Option<&Path>) -> Self {
        let prefix = common::file_prefix();
        let line = format!(
            "lab --no-pci --file-prefix {prefix} {} {}",
            common::NO_HUGE,
            common::lcores(lcores)
        );
        let mut host = Host::before_eal().expect("signals can be caught");
        let api = socket.map(|path| format!("unix:{}", path.display()));
        let api = api.as_deref().unwrap_or("off").parse().expect("an address");
        host.listen(Some(&api), &prefix).expect("the socket is free");
        let eal = Eal::start(&words(&line)).expect("EAL starts");
        let pool = Mempool::create(
            &eal,
            "lab_pool",
            PoolSize { mbufs: 4095, cache: 0, room: ROOM + Mempool::HEADROOM },
            Reuse::LastFirst,
        )
        .expect("a pool");
        Self { pool, eal, host, runs: 0, _leftovers: Leftovers(prefix) }
    }

    /// A packet of these segments.
    pub fn packet(&self, segments: &[&[u8]]) -> Mbuf {
        let mut buffers = Burst::new();
        assert_eq!(
            self.pool.alloc(&mut buffers, segments.len()),
            segments.len(),
            "the lab's pool is large enough"
        );
        let filled = buffers.drain().zip(segments).map(|(mut buffer, bytes)| {
            buffer.fill(bytes).expect("a segment fits into a buffer");
            buffer
        });
        let chain = |mut head: Mbuf, tail| {
            head.chain(tail).expect("few segments");
            head
        };
        filled.reduce(chain).expect("at least one segment")
    }

    /// New ports on rings of `ring_size` entries.
    pub fn wires<const PORTS: usize>(&mut self, ring_size: u32) -> Wires<PORTS> {
        self.runs += 1;
        let rings = std::array::from_fn(|at| {
            let (ring, _) =
                RxTxRing::create(&self.eal, &format!("lab{}_{at}", self.runs), ring_size)
                    .expect("a net_ring port");
            ring
        });
        let ports = find_ports(&self.eal).expect("ports describe themselves");
        Wires { rings, ports: ports.try_into().expect("the ports of earlier runs are closed") }
    }

    /// One run, while `traffic` moves packets on a thread of its own, and is
    /// told when the run is over.
    pub fn run<T: Send, const PORTS: usize>(
        &self,
        own: &str,
        wires: &mut Wires<PORTS>,
        traffic: impl FnOnce(&mut [RxTxRing; PORTS], &AtomicBool) -> T + Send,
    ) -> (Report, T) {
        self.run_by(|cli| app::run(&self.eal, cli, &self.host), own, wires, traffic)
    }

    /// As `run`, with an engine of the test's.
    pub fn run_own<E: Engine, T: Send, const PORTS: usize>(
        &self,
        engine: impl Fn(&EngineSetup<'_>) -> E,
        own: &str,
        wires: &mut Wires<PORTS>,
        traffic: impl FnOnce(&mut [RxTxRing; PORTS], &AtomicBool) -> T + Send,
    ) -> (Report, T) {
        self.run_by(|cli| app::run_own(&self.eal, cli, &self.host, engine), own, wires, traffic)
    }

    fn run_by<T: Send, const PORTS: usize>(
        &self,
        run: impl FnOnce(&Cli) -> mpfwd::error::Result<Report>,
        own: &str,
        wires: &mut Wires<PORTS>,
        traffic: impl FnOnce(&mut [RxTxRing; PORTS], &AtomicBool) -> T + Send,
    ) -> (Report, T) {
        // A run that misses packets should fail, not hang.
        let cli = Cli::read(&words(&format!("--duration 30 {own}")))
            .expect("valid arguments")
            .expect("no help");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| traffic(&mut wires.rings, &over));
            let report = run(&cli);
            over.store(true, Ordering::Release);
            let moved = mover.join().expect("the traffic's thread ends well");
            (report.expect("the run starts"), moved)
        })
    }

    /// Buffers that no packet has.
    pub fn free_buffers(&self) -> u32 {
        self.pool.available()
    }

    #[track_caller]
    pub fn assert_has_all_its_buffers(&self) {
        assert_eq!(self.pool.available(), self.pool.capacity(), "packets were leaked");
    }
}

/// Puts all packets of each list into its port while taking out whatever comes,
/// until the run is over. Returns the packets that left each port, in order.
pub fn pass_through(
    lists: [Vec<Mbuf>; 2],
    rings: &mut [RxTxRing; 2],
    over: &AtomicBool,
) -> [Vec<Vec<u8>>; 2] {
    pass_slowly(lists, rings, over, Duration::ZERO)
}

/// As `pass_through`, with a pause between two looks at what came.
pub fn pass_slowly(
    mut lists: [Vec<Mbuf>; 2],
    rings: &mut [RxTxRing; 2],
    over: &AtomicBool,
    pause: Duration,
) -> [Vec<Vec<u8>>; 2] {
    let mut came = [Vec::new(), Vec::new()];
    lists.iter_mut().for_each(|list| list.reverse());
    let mut going = [Burst::new(), Burst::new()];
    let mut taken = Burst::new();
    let mut looked = Instant::now();
    loop {
        let was_over = over.load(Ordering::Acquire);
        let mut moved = 0;
        let looks = looked.elapsed() >= pause;
        for (at, ring) in rings.iter_mut().enumerate() {
            while going[at].len() < BURST_MAX
                && let Some(packet) = lists[at].pop()
            {
                going[at].push(packet);
            }
            moved += ring.inject(&mut going[at]);
            if looks {
                moved += ring.collect(&mut taken, BURST_MAX);
                came[at].extend(taken.drain().map(|packet| packet.to_vec()));
                looked = Instant::now();
            }
        }
        if moved == 0 && was_over && looks {
            return came;
        }
        if moved == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

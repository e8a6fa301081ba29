//! Files that are read again during a run: the routes of `l3`, the rules of
//! `dpi`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::control::{Reload, Reloaded};
use crate::dpdk::Eal;
use crate::engine::Live;
use crate::engine::dpi::{Automata, RuleNames, RuleSet, Rules};
use crate::engine::l3::{Outgoing, RouteFile, Table};
use crate::stats::DpiCounts;
use mpfwd_common::error::{Error, Result};

/// The routes that all lcores use.
pub(super) struct Routing {
    eal: Eal,
    /// Where the tables are.
    socket: u32,
    path: PathBuf,
    pub(super) ports: Vec<Outgoing>,
    pub(super) tables: Arc<Live<Table>>,
    /// Tables built so far.
    number: AtomicU32,
}

impl Routing {
    /// Builds the first table. Returns a line about it, too.
    ///
    /// # Errors
    /// As [`Table::build`].
    pub(super) fn new(
        eal: &Eal,
        socket: u32,
        file: &RouteFile,
        ports: Vec<Outgoing>,
    ) -> Result<(Self, String)> {
        let table = Table::build((eal, socket), file, &ports, 0)?;
        let text = table.to_string();
        let tables = Arc::new(Live::new(table));
        Ok((
            Self {
                eal: eal.clone(),
                socket,
                path: file.path.clone(),
                ports,
                tables,
                number: AtomicU32::new(1),
            },
            text,
        ))
    }
}

impl Reload for Routing {
    fn what(&self) -> Reloaded {
        Reloaded::Routes
    }

    fn reload(&self) -> Result<String> {
        let file = RouteFile::read(&self.path)
            .map_err(|error| Error::Usage(format!("--routes {error}")))?;
        let table = Table::build(
            (&self.eal, self.socket),
            &file,
            &self.ports,
            self.number.fetch_add(1, Ordering::Relaxed),
        )?;
        let text = table.to_string();
        self.tables.replace(table);
        Ok(text)
    }

    fn sweep(&self) -> bool {
        self.tables.sweep(drop)
    }
}

/// The rules that all lcores use.
pub(super) struct Ruling {
    path: PathBuf,
    stream_bytes: usize,
    lcores: usize,
    names: Mutex<RuleNames>,
    pub(super) rules: Arc<Live<RuleSet>>,
    /// Sets of rules made so far.
    generation: AtomicU32,
    /// Counts of the sets that no lcore uses any more.
    counted: Mutex<DpiCounts>,
}

impl Ruling {
    /// # Errors
    /// As [`RuleSet::new`].
    ///
    /// `stream_bytes`: the most memory for TCP streams.
    pub(super) fn new(
        (path, stream_bytes): (PathBuf, usize),
        rules: Rules,
        automata: Automata,
        lcores: usize,
    ) -> Result<Self> {
        let mut names = RuleNames::default();
        let rules = RuleSet::new(rules, automata, 0, lcores, &mut names)?;
        let (names, counted) = (Mutex::new(names), Mutex::new(DpiCounts::new(0)));
        Ok(Self {
            path,
            stream_bytes,
            lcores,
            names,
            rules: Arc::new(Live::new(rules)),
            generation: AtomicU32::new(1),
            counted,
        })
    }

    fn book(&self, set: &RuleSet) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for lcore in set.all_counts() {
            if counted.rules.len() < lcore.rules.len() {
                let wider = DpiCounts::new(lcore.rules.len());
                wider.add(&counted);
                *counted = wider;
            }
            counted.add(lcore);
        }
    }

    /// Name and last action of every rule of the run, and their counts. Must be
    /// called once, when no lcore uses the rules any more.
    pub(super) fn close(&self) -> (Vec<(String, String)>, DpiCounts) {
        self.sweep();
        self.book(&self.rules.hold());
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let named =
            names.named().iter().map(|(name, action)| (name.clone(), action.to_string())).collect();
        let counted = std::mem::replace(
            &mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner),
            DpiCounts::new(0),
        );
        (named, counted)
    }
}

impl Reload for Ruling {
    fn what(&self) -> Reloaded {
        Reloaded::Rules
    }

    fn reload(&self) -> Result<String> {
        let rules = Rules::read(&self.path)?;
        let automata = Automata::compile(&rules, &self.path, self.stream_bytes)?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let set = RuleSet::new(
            rules,
            automata,
            self.generation.fetch_add(1, Ordering::Relaxed),
            self.lcores,
            &mut names,
        )?;
        let text = format!("rules: {} of {}", set.len(), self.path.display());
        self.rules.replace(set);
        Ok(text)
    }

    fn sweep(&self) -> bool {
        self.rules.sweep(|set| self.book(&set))
    }
}

//! The data of a picture, from comparisons and reports alike.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::class::Class;
use super::super::comparison::Comparison;
use super::super::measured::{Measured, from_json, read};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::latency::Bucket;
use mpfwd_common::report::Incident;

/// Curves of one mode, or of one run.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub name: String,
    /// Without the file's name: colours depend on the mode alone.
    pub mode: String,
    /// By class. Empty without packets.
    pub buckets: [Vec<Bucket>; 2],
}

impl Series {
    pub(super) fn of(&self, class: Class) -> &[Bucket] {
        &self.buckets[class as usize]
    }
}

/// The incidents of a run.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub name: String,
    pub incidents: Vec<Incident>,
}

#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// By file, the number of lcores and the load. None where unknown.
    run_at: Vec<Option<(usize, f64)>>,
    /// The lines below the title.
    pub about: Vec<String>,
    /// The clocks of the latencies, each with the names of its files.
    clocks: Vec<(Vec<String>, String)>,
    pub series: Vec<Series>,
    pub timelines: Vec<Timeline>,
}

fn add_new(lines: &mut Vec<String>, line: String) {
    if !line.is_empty() && !lines.contains(&line) {
        lines.push(line);
    }
}

impl Figure {
    fn empty() -> Self {
        Self {
            run_at: Vec::new(),
            about: Vec::new(),
            clocks: Vec::new(),
            series: Vec::new(),
            timelines: Vec::new(),
        }
    }

    /// Comparisons with their names. The name is empty where there is only one.
    pub(crate) fn of_comparisons(comparisons: &[(String, Comparison)]) -> Self {
        let mut figure = Self::empty();
        comparisons.iter().for_each(|(name, comparison)| figure.add_comparison(name, comparison));
        figure
    }

    /// # Errors
    /// A file can't be read, or is neither a comparison nor a report with
    /// latencies.
    pub(super) fn of_files(paths: &[PathBuf]) -> Result<Self> {
        let mut figure = Self::empty();
        for path in paths {
            let name = if paths.len() > 1 {
                path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned())
            } else {
                String::new()
            };
            figure.add_file(path, &name)?;
        }
        Ok(figure)
    }

    fn add_file(&mut self, path: &Path, name: &str) -> Result<()> {
        const WHAT: &str = "a comparison or a report";
        let text = read(path)?;
        let value: Value = from_json(path, &text, WHAT)?;
        if value.get("curves").is_some() {
            self.add_comparison(name, &from_json::<Comparison>(path, &text, "a comparison")?);
            return Ok(());
        }
        let run: Measured = from_json(path, &text, WHAT)?;
        match run.latency.is_some() {
            true => self.add_run(name, &run),
            false => {
                return Err(Error::Usage(format!(
                    "{}: that run measured no latencies",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn add_comparison(&mut self, name: &str, comparison: &Comparison) {
        let parameters = &comparison.parameters;
        self.run_at.push(Some((parameters.lcore_count, comparison.load())));
        let expensive = parameters
            .expensive_load
            .map_or(String::new(), |busy| format!("; expensive work keeps {busy:.2} lcores busy"));
        add_new(
            &mut self.about,
            format!("{}{} {}{expensive}", prefix(name), parameters.work, parameters.source),
        );
        let measured = comparison.medians(Class::Cheap).map(|row| row.rounds).max().unwrap_or(0);
        add_new(
            &mut self.about,
            format!(
                "{}{measured} rounds of {} s per mode, interleaved, all together; pools {}; {}; DPDK {}",
                prefix(name),
                parameters.round_s,
                parameters.pools,
                parameters.memory,
                comparison.dpdk
            ),
        );
        if comparison.rows.iter().any(|row| row.host_gap_ns > 0) {
            add_new(&mut self.about, format!("{}{}", prefix(name), comparison.host_gaps()));
        }
        comparison
            .notes
            .iter()
            .for_each(|note| add_new(&mut self.about, format!("{}{note}", prefix(name))));
        self.add_clock(name, &comparison.clock, &comparison.bound);
        for mode in &parameters.modes {
            let of = |class| {
                comparison.curves.iter().find(|curve| curve.mode == *mode && curve.class == class)
            };
            let buckets =
                Class::ALL.map(|class| of(class).map_or(Vec::new(), |curve| curve.buckets.clone()));
            self.series.push(Series {
                name: format!("{}{mode}", prefix(name)),
                mode: mode.clone(),
                buckets,
            });
        }
        let timeline = |own: &super::super::comparison::ModeIncidents| Timeline {
            name: format!("{}{}, round {}", prefix(name), own.mode, own.round),
            incidents: own.incidents.clone(),
        };
        self.timelines.extend(comparison.incidents.iter().map(timeline));
    }

    /// Parameters that all files share, and the ranges of lcores and load.
    pub(super) fn title(&self) -> String {
        let run_at: Option<Vec<(usize, f64)>> = self.run_at.iter().copied().collect();
        let Some((run_at, lcores)) =
            run_at.and_then(|run_at| run_at.first().copied().map(|(lcores, _)| (run_at, lcores)))
        else {
            return "Latency".into();
        };
        let several = if lcores == 1 { "lcore" } else { "lcores" };
        let of = |lcores: usize| {
            if run_at.iter().all(|at| at.0 == lcores) {
                format!(", {lcores} {several}")
            } else {
                String::new()
            }
        };
        let mut loads: Vec<f64> = run_at.iter().map(|at| at.1).collect();
        loads.sort_by(f64::total_cmp);
        let (least, most) = (short(loads[0]), short(loads[loads.len() - 1]));
        let load = if least == most {
            format!("load {least}")
        } else {
            format!("loads {least} to {most}")
        };
        format!("Latency by mode{}, {load}", of(lcores))
    }

    fn add_run(&mut self, name: &str, run: &Measured) {
        let Some(latency) = &run.latency else { return };
        // Without --work packets cost nothing and there is no load.
        self.run_at.push(
            run.source.as_ref().map(|source| (run.lcores(), source.load)).filter(|at| at.1 > 0.0),
        );
        let pools = run.pools.as_ref().map_or(String::new(), |pools| format!(" {pools}"));
        let source = run
            .source
            .as_ref()
            .map_or(String::new(), |source| format!(", {}, load {:.3}", source.spec, source.load));
        add_new(
            &mut self.about,
            format!(
                "{}mode {}{pools}, {:.1} s{source}; DPDK {}",
                prefix(name),
                run.mode,
                run.elapsed_s,
                run.dpdk
            ),
        );
        let beside = std::iter::once(run.host_gaps.to_string()).chain(latency.qualified_by());
        beside.for_each(|line| add_new(&mut self.about, format!("{}{line}", prefix(name))));
        self.add_clock(name, &latency.clock, &latency.bound);
        let own = if name.is_empty() { run.mode.clone() } else { format!("{name}: {}", run.mode) };
        let buckets = Class::ALL.map(|class| latency.of(class).buckets.clone());
        self.series.push(Series { name: own.clone(), mode: run.mode.clone(), buckets });
        if !run.incidents.is_empty() {
            self.timelines.push(Timeline { name: own, incidents: run.incidents.clone() });
        }
    }

    /// Files with the same clock share a line.
    fn add_clock(&mut self, name: &str, clock: &str, bound: &str) {
        let text = format!("{clock}; {bound}");
        match self.clocks.iter_mut().find(|(_, said)| *said == text) {
            Some((names, _)) => names.push(name.to_owned()),
            None => self.clocks.push((vec![name.to_owned()], text)),
        }
    }

    /// A line per clock, with its files where there are several clocks.
    pub(super) fn clock_lines(&self) -> Vec<String> {
        let of = |names: &[String]| {
            if self.clocks.len() > 1 { format!(" of {}", names.join(", ")) } else { String::new() }
        };
        self.clocks.iter().map(|(names, text)| format!("clock{}: {text}", of(names))).collect()
    }
}

/// A load without trailing zeros.
fn short(load: f64) -> String {
    format!("{load:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn prefix(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{name}: ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::{comparison, report};

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn comparisons_can_be_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&comparison()).unwrap();
        let paths = [file(&folder, "low.json", &text), file(&folder, "high.json", &text)];
        let figure = Figure::of_files(&paths).unwrap();
        let names: Vec<&str> = figure.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["low: rtc", "low: hybrid", "high: rtc", "high: hybrid"]);
        assert_eq!(
            (figure.clock_lines(), figure.timelines.len()),
            (vec!["clock: open-loop; a burst".to_owned()], 4),
            "said once"
        );
        assert_eq!(figure.title(), "Latency by mode, 2 lcores, load 0.5");
        let gaps = "low: host gaps, share of lcore time (medians): rtc 5.00 %, hybrid 5.00 %; longest 50 ns";
        assert!(figure.about.iter().any(|line| line == gaps), "{:#?}", figure.about);
        assert_eq!(Figure::of_files(&paths[..1]).unwrap().series[0].name, "rtc");
    }

    #[test]
    fn a_title_is_of_all_files() {
        let (mut high, mut rate) = (comparison(), comparison());
        high.parameters.load = Some(0.9);
        (rate.parameters.load, rate.source_load) = (None, 0.123_456);
        let title = |comparisons: &[&Comparison]| {
            Figure::of_comparisons(
                &comparisons.iter().map(|&one| (String::new(), one.clone())).collect::<Vec<_>>(),
            )
            .title()
        };
        assert_eq!(title(&[&comparison(), &high]), "Latency by mode, 2 lcores, loads 0.5 to 0.9");
        assert_eq!(title(&[&rate]), "Latency by mode, 2 lcores, load 0.123");
        high.parameters.lcore_count = 4;
        assert_eq!(title(&[&high, &rate]), "Latency by mode, loads 0.123 to 0.9");
        assert_eq!(title(&[]), "Latency");
        let run = |value| serde_json::from_value::<Measured>(value).unwrap();
        let (with_load, mut without) = (report("rtc", &[1_000], 0), report("rtc", &[1_000], 0));
        without["source"] = Value::Null;
        let mut figure = Figure::empty();
        figure.add_run("", &run(with_load));
        assert_eq!(figure.title(), "Latency by mode, 2 lcores, load 0.5");
        figure.add_run("", &run(without));
        assert_eq!(figure.title(), "Latency", "one load is unknown");
    }

    #[test]
    fn reports_bring_their_qualifications() {
        let folder = tempfile::tempdir().unwrap();
        let mut good = report("rtc", &[1_000], 0);
        let mut bad = report("hybrid", &[2_000], 0);
        bad["latency"]["off"] = "port 0 has a clock that went back".into();
        bad["latency"]["censored_pkts"] = 1_234.into();
        bad["latency"]["bound"] = "stamps are right to 90 ns".into();
        good["latency"]["censored_pkts"] = 0.into();
        let figure = Figure::of_files(&[
            file(&folder, "good.json", &good.to_string()),
            file(&folder, "bad.json", &bad.to_string()),
        ])
        .unwrap();
        for says in [
            "good: host gaps: 100 ms in 1 gaps, longest 50 ns",
            "bad: 1,234 packets were lost before they had a stamp: they are in no latency here",
            "bad: LATENCY IS INCOMPLETE: port 0 has a clock that went back",
        ] {
            assert!(figure.about.iter().any(|line| line == says), "{says}: {:#?}", figure.about);
        }
        assert!(
            !figure
                .about
                .iter()
                .any(|line| line.contains("good: LATENCY") || line.starts_with("good: 0 packets"))
        );
        assert_eq!(
            figure.clock_lines(),
            [
                "clock of good: open-loop; a burst",
                "clock of bad: open-loop; stamps are right to 90 ns"
            ]
        );
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let whole = serde_json::to_string(&comparison()).unwrap();
        for (text, says) in [
            (&whole[..whole.len() / 2], "cut off"),
            ("{\"curves\": 1}", "invalid type"),
            ("{\"rows\": []}", "missing field"),
            ("", "empty"),
        ] {
            let error = Figure::of_files(&[file(&folder, "x.json", text)]).unwrap_err();
            assert!(
                error.exit_code() == 2
                    && error.to_string().contains(says)
                    && !error.to_string().contains('\n'),
                "{error}"
            );
        }
    }
}

//! `msd bench`: how fast a kernel is beside its alternatives and the limits of the machine, every
//! call on weights that no cache holds. Owns the sweep over sizes and threads; how its rows look is
//! [`crate::report::bench`].

use std::rc::Rc;
use std::time::Duration;

use msd::Options;
use msd::io;
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;
use msd::ir::input::Input;
use msd::jit::kernel::Tiling;
use msd::jit::probe::{self, Limits, Probe};

use crate::bench::accuracy::{self, Yardstick};
use crate::bench::cold::Cold;
use crate::bench::measure::{Budget, measure, median_limits};
use crate::bench::{Variant, stored_bytes, variants, weights};
use crate::inputs::{self, Missing, Resolved, dims};
use crate::kernel_args::{BenchArgs, Target};
use crate::origin::Fault;
use crate::progress::Progress;
use crate::report::bench::{Ceiling, markdown, table};
use crate::report::{Body, Machine, Outcome, Row, page, site};
use crate::request::{self, Subject};

/// Memory of the copies beyond which contenders are no longer measured together.
const MEMORY: usize = 2_000_000_000;

/// Measures the kernel.
pub(crate) fn run(args: &BenchArgs) -> Outcome {
    bench(args).unwrap_or_else(Outcome::failure)
}

fn bench(args: &BenchArgs) -> Result<Outcome, Vec<Fault>> {
    let subject = Subject::read(&args.plan)?;
    if args.plan.target != Target::Cpu {
        let message = format!("`msd bench` times compiled code, not the target `{}`", args.plan.target.name());
        let fault = Diagnostic::new(Code::BadUsage, message).help("leave `--target` out");
        return Err(subject.faults(vec![fault]));
    }
    request::check_not_source(&args.plan.file, args.markdown.iter()).map_err(|d| subject.faults(vec![d]))?;
    let points = dims::sweep(&args.plan.dims).map_err(|d| subject.faults(vec![d]))?;
    let mut bench = Bench::new(args, &subject, points.len());
    for dims in &points {
        bench.point(dims).map_err(|d| subject.faults(d))?;
    }
    bench.finish()
}

/// The state of a sweep.
struct Bench<'a> {
    args: &'a BenchArgs,
    subject: &'a Subject,
    options: Options,
    /// One per number of threads.
    probes: Vec<Probe>,
    /// Samples of each.
    samples: Vec<Vec<Limits>>,
    plans: Vec<String>,
    rows: Vec<Row>,
    progress: Progress,
}

/// A combination of sizes.
struct Point {
    sizes: Sizes,
    weights: Vec<usize>,
    macs: f64,
    yardstick: Option<Yardstick>,
}

impl<'a> Bench<'a> {
    fn new(args: &'a BenchArgs, subject: &'a Subject, points: usize) -> Bench<'a> {
        let options = request::options(&args.plan, 1);
        let progress = Progress::new((points * args.threads.len()) as u64);
        progress.step("limits of the machine");
        let probes = args.threads.iter().map(|t| Probe::new(usize::from(*t))).collect();
        let samples = vec![Vec::new(); args.threads.len()];
        Bench { args, subject, options, probes, samples, plans: Vec::new(), rows: Vec::new(), progress }
    }

    /// Measures one combination of sizes with every number of threads.
    fn point(&mut self, dims: &Sizes) -> Result<(), Vec<Diagnostic>> {
        let kernel = &self.subject.kernel;
        let resolved = inputs::resolve(kernel, &self.args.inputs, dims, Missing::Random)?;
        let against = self.args.against.as_deref();
        let variants = variants(kernel, &resolved, against, &self.options)?;
        let planned = variants.first().map(|v| v.rewritten.sites()).unwrap_or_default();
        // Other sizes may have another plan.
        self.plans.push(format!("{}\n", spell(&resolved.sizes)));
        self.plans.extend(site::lines(&planned, &self.subject.source).map(|line| format!("  {line}")));
        self.progress.step(&format!("{}: the F64 value", spell(&resolved.sizes)));
        let Resolved { inputs, sizes } = resolved;
        let yardstick = Yardstick::new(kernel, &inputs, &sizes).map_err(|d| vec![d])?;
        drop(inputs);
        let point = Point { weights: weights(kernel), macs: accuracy::macs(kernel, &sizes), yardstick, sizes };
        for index in 0..self.args.threads.len() {
            self.contest(&point, &variants, index)?;
            self.progress.advance();
        }
        Ok(())
    }

    /// Measures all contenders with one number of threads, as many together as memory allows.
    fn contest(&mut self, point: &Point, variants: &[Variant], index: usize) -> Result<(), Vec<Diagnostic>> {
        let options = Options { threads: usize::from(self.args.threads[index]), ..self.options.clone() };
        let mut group = Group::default();
        for variant in variants {
            self.progress.step(&format!("{}, {} threads: {}", spell(&point.sizes), options.threads, variant.name));
            let cold = Cold::new(variant, &point.weights, &options)?;
            let yardstick = point.yardstick.as_ref();
            let distance = yardstick.map(|y| y.distance(variant, &cold.compiled, &point.weights, &options));
            let distance = distance.transpose()?.flatten();
            if !group.rows.is_empty() && group.bytes() + cold.bytes() > MEMORY {
                self.measure(std::mem::take(&mut group), index)?;
            }
            group.rows.push(self.row(point, variant, &cold, distance, options.threads));
            group.contenders.push((cold, variant.inputs.clone()));
        }
        self.progress.step(&format!("{}, {} threads", spell(&point.sizes), options.threads));
        self.measure(group, index)
    }

    /// The row of a contender; what takes time to find out is filled in by [`Bench::measure`].
    fn row(&self, point: &Point, variant: &Variant, cold: &Cold, rel_l2: Option<f64>, threads: usize) -> Row {
        let bytes: f64 = point.weights.iter().map(|w| stored_bytes(&variant.inputs[*w])).sum();
        let mut tilings = cold.tilings();
        tilings.dedup();
        let join = |of: fn(&Tiling) -> &str| {
            (!tilings.is_empty()).then(|| tilings.iter().map(of).collect::<Vec<_>>().join("+"))
        };
        Row {
            dims: point.sizes.iter().map(|(name, size)| (name.to_string(), *size)).collect(),
            threads,
            lowering: variant.lowering,
            scheme: variant.scheme,
            isa: self.options.level.name(),
            emitter: join(|t| t.emitter),
            tile: join(|t| &t.tile),
            blocking: join(|t| &t.blocking),
            seconds: f64::NAN,
            weight_gbs: (!point.weights.is_empty()).then_some(bytes * 1e-9),
            gmacs: point.macs * 1e-9,
            rel_l2,
            compile_ms: cold.compiled.compile_time().as_secs_f64() * 1e3,
            rounds: 0,
            limits: median_limits(&[]),
        }
    }

    fn measure(&mut self, mut group: Group, index: usize) -> Result<(), Vec<Diagnostic>> {
        let budget = match self.args.rounds {
            Some(rounds) => Budget::Rounds(rounds),
            None => Budget::Time(Duration::from_secs_f64(self.args.seconds)),
        };
        let measured = measure(&mut group.contenders, &self.probes[index], budget)?;
        let limits = median_limits(&measured.limits);
        self.samples[index].extend(&measured.limits);
        for (mut row, seconds) in group.rows.into_iter().zip(measured.seconds) {
            row.seconds = seconds;
            row.weight_gbs = row.weight_gbs.map(|gigabytes| gigabytes / seconds);
            row.gmacs /= seconds;
            (row.rounds, row.limits) = (measured.rounds, limits);
            self.rows.push(row);
        }
        Ok(())
    }

    /// The answer. The page is written when everything else is known to be well.
    fn finish(self) -> Result<Outcome, Vec<Fault>> {
        let Bench { args, subject, probes, samples, plans, rows, .. } = self;
        let ceilings: Vec<Ceiling> = probes
            .iter()
            .zip(&args.threads)
            .zip(&samples)
            .map(|((probe, threads), samples)| Ceiling {
                threads: *threads,
                limits: median_limits(samples),
                int8_instruction: probe.int8_instruction(),
                amx_instruction: probe.amx_instruction(),
                f32_instruction: probe.f32_instruction(),
            })
            .collect();
        let limits = ceilings.first().map_or_else(|| median_limits(&[]), |c| c.limits);
        let machine = Machine { cpu: probe::cpu_name(), features: probe::features(), limits };
        if let Some(path) = &args.markdown {
            let page = page::stage(path, &markdown(&machine.cpu, &ceilings, &rows))?;
            io::commit(vec![page]).map_err(|d| vec![d.into()])?;
        }
        let mut text = format!("{}: {}\n", machine.cpu, machine.features.join(" "));
        text.extend(ceilings.first().map(|c| format!("{c}\n")));
        text.extend(plans);
        text += "\n";
        text += &table(&rows);
        Ok(Outcome::done(text, Body::Bench { kernel: subject.kernel.name.to_string(), machine, rows }))
    }
}

/// Contenders measured together, and their rows.
#[derive(Default)]
struct Group {
    contenders: Vec<(Cold, Rc<Vec<Input>>)>,
    rows: Vec<Row>,
}

impl Group {
    fn bytes(&self) -> usize {
        self.contenders.iter().map(|(cold, _)| cold.bytes()).sum()
    }
}

fn spell(sizes: &Sizes) -> String {
    sizes.iter().map(|(name, size)| format!("{name}={size}")).collect::<Vec<_>>().join(" ")
}

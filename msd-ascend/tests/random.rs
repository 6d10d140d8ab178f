//! Streams at random, and streams of ours with words exchanged: whatever they say, every interpreter ends, and says
//! what is wrong.

use std::time::{Duration, Instant};

use msd_ascend::chip::Chip;
use msd_ascend::expr::{Binary, Expr};
use msd_ascend::isa::memory::{Core, Pipe};
use msd_ascend::isa::{Kind, Op, Types};
use msd_ascend::program::{Arg, BUILT_IN_VARIABLES, Instruction, PlaceExpr, Program, Purpose, Statement, Tensor};
use msd_ascend::timing::Report;
use msd_ascend::{race, text, timing, values, verify};
use msd_ir::dtype::DType;
use proptest::prelude::*;
use proptest::test_runner::TestRng;

/// A run of a small stream is a matter of milliseconds; this is not.
const LONG: Duration = Duration::from_secs(60);

fn everything(program: &Program) {
    let start = Instant::now();
    for chip in Chip::names() {
        let chip = Chip::named(chip).expect("it comes along");
        let verified = verify::verify(program, &chip);
        let races = race::find(program, &chip);
        let cycles = timing::cycles(program, &chip);
        let values = values::run(program, &chip, &[]);
        if verified.is_ok() {
            assert!(cycles.is_ok(), "{cycles:?}");
        }
        // A sum may leave its type; nothing else stops values but what stops cycles.
        let sum = |d: &msd_ir::diag::Diagnostic| d.code == msd_ir::diag::Code::AccumulatorRange;
        assert_eq!(cycles.is_ok(), values.as_ref().err().is_none_or(sum), "{cycles:?} {values:?}");
        assert!(cycles.is_ok() || races.is_err());
        cycles.iter().for_each(accounts_for_all_time);
    }
    assert!(start.elapsed() < LONG);
}

/// Every pipe is busy or has a reason not to be.
fn accounts_for_all_time(report: &Report) {
    for (kind, ..) in &report.cores {
        for pipe in Pipe::ALL {
            let Some(busy) = report.busy(*kind, pipe) else { continue };
            let idle: f64 = report.stalls(*kind, pipe).iter().map(|(_, part)| part).sum();
            assert!((busy + idle - 1.0).abs() < 1e-9, "{kind:?} {pipe:?}: {busy} and {idle}");
        }
    }
}

struct Dice<'a>(&'a mut TestRng);

impl Dice<'_> {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn offset(&mut self) -> Expr {
        let base = self.pick(&[0, 0, 0, 32, 512, 1024, 8192, 65536, 7, -32]);
        let factor = self.pick(&[0, 0, 32, 512, 1024]);
        let slot = self.below(6) as u16;
        let scaled = Expr::binary(Binary::Mul, Expr::variable(slot), Expr::from(factor));
        Expr::binary(Binary::Add, scaled, Expr::from(base))
    }

    fn int(&mut self, low: i64, high: i64) -> Expr {
        let near = self.pick(&[low, 1, 2, 15, 16, 17, 31, 32, 64, 100, high]);
        if self.below(8) == 0 { Expr::variable(self.below(6) as u16) } else { Expr::from(near.clamp(low, high)) }
    }

    fn instruction(&mut self) -> Instruction {
        let op = self.pick(Op::ALL);
        let spec = op.spec();
        let types = match spec.types {
            Types::None => [None; 2],
            Types::One(list) => [Some(self.pick(list)), None],
            Types::Pair(list) => {
                let (a, b) = self.pick(list);
                [Some(a), Some(b)]
            }
            Types::Scaled => {
                [Some(self.pick(&[DType::E4M3, DType::E2M1])), Some(self.pick(&[DType::E5M2, DType::E2M1]))]
            }
            Types::Cast => [Some(self.pick(DType::ALL)), Some(self.pick(DType::ALL))],
        };
        let args = spec.operands.iter().map(|operand| match operand.kind {
            Kind::Place { spaces, .. } => Arg::Place(PlaceExpr {
                space: self.pick(spaces),
                tensor: self.below(3) as u16,
                offset: self.offset(),
                row: (self.below(4) == 0).then(|| Expr::from([0, 32, 64, 128, -32][self.below(5)])),
                block: (self.below(6) == 0).then(|| Expr::from([0, 32, 64, 5][self.below(4)])),
            }),
            Kind::Int(_, _, Some(value)) if self.below(3) > 0 => Arg::Int(Expr::from(value)),
            Kind::Int(low, high, _) => Arg::Int(self.int(low, high)),
            Kind::Id => Arg::Int(Expr::from(self.below(3) as i64)),
            Kind::Float(_) => Arg::Float([1.0, -2.5, f32::NAN, f32::INFINITY, 1e30][self.below(5)]),
            Kind::Pipe => Arg::Pipe(self.pick(&Pipe::ALL)),
            Kind::Word(words) => Arg::Word(self.below(words.len()) as u8),
        });
        Instruction { op, types, args: args.collect(), note: None, span: None }
    }

    fn block(&mut self, depth: usize) -> Vec<Statement> {
        let count = 1 + self.below(6);
        (0..count)
            .map(|_| match self.below(if depth < 3 { 12 } else { 9 }) {
                9 => Statement::Let(3 + self.below(3) as u16, self.offset()),
                10 => Statement::For {
                    slot: 3 + self.below(3) as u16,
                    from: Expr::from(0),
                    to: self.int(0, 4),
                    step: Expr::from(1),
                    body: self.block(depth + 1),
                },
                11 => Statement::If {
                    value: Expr::variable(self.below(6) as u16),
                    then: self.block(depth + 1),
                    other: self.block(depth + 1),
                },
                _ => Statement::Instruction(self.instruction()),
            })
            .collect()
    }

    fn program(&mut self) -> Program {
        let purposes = [Purpose::Weight, Purpose::Workspace, Purpose::Output];
        let tensors = purposes.iter().enumerate().map(|(i, purpose)| Tensor {
            name: format!("T{i}"),
            dtype: self.pick(&[DType::F32, DType::F16, DType::I8, DType::I4]),
            shape: vec![Expr::from(self.pick(&[0, 64, 4096, 1 << 20]))],
            purpose: *purpose,
            span: None,
        });
        let tensors = tensors.collect();
        let names = BUILT_IN_VARIABLES.iter().copied().chain(["x", "y", "z"]);
        Program {
            name: "random".to_string(),
            variables: names.map(str::to_string).collect(),
            params: Vec::new(),
            tensors,
            blocks: Expr::from(1 + self.below(2) as i64),
            cube: self.section(),
            vector: self.section(),
        }
    }

    /// Statements of a kind of core, or none; most programs set their variables first.
    fn section(&mut self) -> Vec<Statement> {
        if self.below(3) == 0 {
            return Vec::new();
        }
        let set = (3..6).map(|slot| Statement::Let(slot, Expr::from(i64::from(slot))));
        let set: Vec<Statement> = if self.below(8) > 0 { set.collect() } else { Vec::new() };
        [set, self.block(0)].concat()
    }
}

proptest! {
    #[test]
    fn no_program_panics(seed in any::<[u8; 32]>()) {
        let mut rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
        let program = Dice(&mut rng).program();
        everything(&program);
        let printed = text::print(&program);
        if let Ok(again) = text::parse(&printed) {
            prop_assert_eq!(text::print(&again), printed);
        }
    }
}

const STREAMS: [&str; 3] = [
    include_str!("../../kernels/npu/gemm_i8.npu"),
    include_str!("../../kernels/npu/gemm_mxfp4.npu"),
    include_str!("../../kernels/npu/dequant_w8.npu"),
];

proptest! {
    /// Single words of streams that run, exchanged for others of the same stream.
    #[test]
    fn no_slip_panics(stream in 0usize..3, slips in prop::collection::vec((any::<u32>(), any::<u32>()), 1..4)) {
        let lines: Vec<&str> = STREAMS[stream].lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let source = lines.join("\n").replace("blocks 24", "blocks 2").replace("blocks 32", "blocks 2");
        let mut words: Vec<&str> = source.split_inclusive(|c: char| !c.is_alphanumeric()).collect();
        for (at, from) in slips {
            let (at, from) = (at as usize % words.len(), from as usize % words.len());
            words[at] = words[from];
        }
        if let Ok(mut program) = text::parse(&words.concat()) {
            for (name, size) in [("M", 20), ("N", 40), ("K", 96)] {
                program.set(name, size);
            }
            everything(&program);
        }
    }
}

/// What the generator makes is not refused at once: most kinds of instructions do run.
#[test]
fn random_programs_run_far_enough() {
    let mut rng = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let chip = Chip::named("ascend-950").expect("it comes along");
    let mut dice = Dice(&mut rng);
    let mut ran = std::collections::BTreeSet::new();
    for _ in 0..20_000 {
        let instruction = dice.instruction();
        let op = instruction.op;
        let mut program = dice.program();
        (program.cube, program.vector) = (Vec::new(), Vec::new());
        let set = (3..6).map(|slot| Statement::Let(slot, Expr::from(0)));
        let body: Vec<Statement> = set.chain([Statement::Instruction(instruction)]).collect();
        match op.spec().core {
            Some(Core::Vector) => program.vector = body,
            _ => program.cube = body,
        }
        if timing::cycles(&program, &chip).is_ok() {
            ran.insert(op);
        }
    }
    let missing: Vec<&str> = Op::ALL.iter().filter(|op| !ran.contains(op)).map(|op| op.spec().mnemonic).collect();
    assert!(missing.len() <= 4, "never ran: {missing:?}");
}

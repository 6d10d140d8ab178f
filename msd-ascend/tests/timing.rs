//! Durations worked out by hand from the numbers of a chip: what keeps a pipe, what is shared, what overlaps.

use msd_ascend::chip::Chip;
use msd_ascend::engine::stall::Reason;
use msd_ascend::isa::memory::{Core, Pipe};
use msd_ascend::program::Purpose;
use msd_ascend::timing::Report;
use msd_ascend::{text, timing};

fn chip() -> Chip {
    Chip::named("ascend-910b").expect("it comes along")
}

/// Without the start of the kernel.
fn run(source: &str) -> (u64, Report) {
    let program = text::parse(&format!("program p\n{source}")).expect("a stream");
    let report = timing::cycles(&program, &chip()).expect("it runs");
    (report.cycles - chip().kernel_start(), report)
}

fn cycles(source: &str) -> u64 {
    run(source).0
}

const TENSORS: &str = "tensor A: f16[1048576] activation\ntensor W: i8[4194304] weight\ntensor O: f32[4194304] output\n\
                       tensor V: f32[4194304] workspace\n";

fn cube(body: &str) -> u64 {
    cycles(&format!("{TENSORS}cube {{\n{body}\n}}"))
}

fn vector(body: &str) -> u64 {
    cycles(&format!("{TENSORS}vector {{\nif sub == 0 {{\n{body}\n}}\n}}"))
}

#[test]
fn a_transfer_is_its_start_its_bytes_and_their_way() {
    // 64 KB through L2's port at 110 bytes per cycle. One core alone may have all of HBM.
    let wanted = 2 + 64 + 65536u64.div_ceil(110) + 700;
    assert_eq!(cube("nd2nz.f16 L1[0], A[0], rows=128, cols=256"), wanted);
    // The second starts when the first has its bytes, not when they have arrived; half of them are in L2.
    let two = "nd2nz.f16 L1[0], A[0], rows=128, cols=256\nnd2nz.f16 L1[65536], A[0], rows=128, cols=256";
    assert_eq!(cube(two), 2 + 2 * (64 + 65536u64.div_ceil(110)) + 700);
}

#[test]
fn hbm_is_shared_by_all_cores_and_l2_is_not() {
    // 24 cores at 110 bytes per cycle want more than 24 * 32: each has its part.
    let all = format!("{TENSORS}blocks 24\ncube {{\nnd2nz.i8 L1[0], W[core * 131072], rows=256, cols=512\n}}");
    assert_eq!(cycles(&all), 2 + 64 + 131072 / 32 + 700);
    // The same bytes for all come from HBM once.
    let same = format!("{TENSORS}blocks 24\ncube {{\nnd2nz.i8 L1[0], W[0], rows=256, cols=512\n}}");
    let (time, report) = run(&same);
    assert_eq!(time, 2 + 64 + 131072u64.div_ceil(110) + 700);
    let weight = report.traffic.iter().find(|(purpose, _)| *purpose == Purpose::Weight).expect("one of five").1;
    assert_eq!((weight.hbm_read, weight.l2_read), (131072, 23 * 131072));
}

#[test]
fn a_product_is_its_steps() {
    // The operands are what L0 holds at first; nobody looks for what was written here.
    assert_eq!(cube("mmad.f16 L0C[0], L0A[0], L0B[0], m=128, k=64, n=256, init=1"), 2 + 16 + 8 * 4 * 16);
    assert_eq!(cube("mmad.i8 L0C[0], L0A[0], L0B[0], m=128, k=64, n=256, init=1"), 2 + 16 + 8 * 2 * 16);
    // Rows are filled to 16: one token costs as much as sixteen.
    assert_eq!(cube("mmad.i8 L0C[0], L0A[0], L0B[0], m=1, k=64, n=256, init=1"), 2 + 16 + 2 * 16);
    assert_eq!(cube("load_a.f16 L0A[0], L1[0], m=128, k=64"), 2 + 20 + 16384 / 512);
    assert_eq!(cube("load_b.f16 L0B[0], L1[0], k=64, n=256"), 2 + 20 + 32768 / 256);
}

#[test]
fn vector_operations_are_priced_by_their_widest_operand() {
    // Start-up and tail come once after the last: operations follow each other without.
    let after = 13 + 18;
    assert_eq!(vector("vabs.f32 UB[0], UB[0], rows=1, cols=4096"), 4 + 64 + after);
    assert_eq!(vector("vadd.f32 UB[0], UB[0], UB[32768], rows=1, cols=4096"), 4 + 2 * 64 + after);
    assert_eq!(vector("vcast.i8.f16 UB[8192], UB[0], rows=1, cols=4096"), 4 + 2 * 32 + after);
    assert_eq!(vector("vcast.f32.bf16 UB[65536], UB[0], rows=1, cols=4096"), 4 + 2 * 64 + after);
    assert_eq!(vector("vdiv.f16 UB[0], UB[0], UB[32768], rows=1, cols=4096"), 4 + 4 * 32 + after);
    // Short rows apart from each other take a step each.
    assert_eq!(vector("vabs.f32 UB[0 row 64], UB[0 row 64], rows=32, cols=8"), 4 + 32 + after);
    assert_eq!(vector("vabs.f32 UB[0], UB[0], rows=32, cols=8"), 4 + 4 + after);
    let three = "vabs.f32 UB[0], UB[0], rows=1, cols=4096\n".repeat(3);
    assert_eq!(vector(&three), 4 + 3 * 64 + after);
    let waits = "vabs.f32 UB[0], UB[0], rows=1, cols=4096\nbarrier V\n".repeat(2);
    assert_eq!(vector(&waits), 4 + 2 * (64 + after));
}

#[test]
fn without_a_pipeline_an_operation_waits_for_what_it_needs() {
    let new = Chip::named("ascend-950").expect("it comes along");
    let cycles = |body: &str| {
        let program = text::parse(&format!("blocks 1\nvector {{\nif sub == 0 {{\n{body}\n}}\n}}")).expect("a stream");
        timing::cycles(&program, &new).expect("it runs").cycles - new.kernel_start()
    };
    let (after, alone) = (13 + 18, "vadds.f32 UB[0], UB[8192], rows=1, cols=1024\n");
    assert_eq!(cycles(&alone.replace("8192", "0").repeat(3)), 4 + 3 * (16 + after));
    let apart = format!("{alone}{}", alone.replace("UB[0]", "UB[16384]"));
    assert_eq!(cycles(&apart), 4 + 2 * 16 + after);
}

#[test]
fn results_leave_as_fast_as_the_slowest_on_their_way() {
    // Accumulators at 128 bytes per cycle, L2 takes 86, HBM all of it from one core.
    let fix = "fix.f32.f32 O[0], L0C[0], m=128, n=256";
    assert_eq!(cube(fix), 2 + 64 + 131072u64.div_ceil(86) + 700);
    // As FP16 half the bytes leave: the accumulators are what is slow.
    let tensors = TENSORS.replace("tensor O: f32", "tensor O: f16");
    let half = format!("{tensors}cube {{\nfix.f32.f16 O[0], L0C[0], m=128, n=256\n}}");
    assert_eq!(cycles(&half), 2 + 64 + 131072 / 128 + 700);
    // What another core reads next stays in L2 and costs HBM nothing.
    let (_, report) = run(&format!("{TENSORS}cube {{\nfix.f32.f32 V[0], L0C[0], m=128, n=256\n}}"));
    let total = report.total();
    assert_eq!((total.hbm_write, total.l2_write), (0, 131072));
}

#[test]
fn pipes_wait_for_reasons() {
    let body = "nd2nz.f16 L1[0], A[0], rows=128, cols=256\nset_flag MTE2, S, 0\nwait_flag MTE2, S, 0\n\
                load_a.f16 L0A[0], L1[0], m=128, k=64\nbarrier_all\nload_a.f16 L0A[0], L1[0], m=128, k=64";
    let (time, report) = run(&format!("{TENSORS}cube {{\n{body}\n}}"));
    let loaded = 2 + 64 + 65536u64.div_ceil(110) + 700 + 12;
    let taken = loaded + 2 + 20 + 16384 / 512;
    assert_eq!(time, taken + 2 + 20 + 16384 / 512);
    let part = |cycles: u64| cycles as f64 / report.cycles as f64;
    let stall = |pipe, reason| {
        let stalls = report.stalls(Core::Cube, pipe);
        stalls.iter().find(|(why, _)| *why == reason).map_or(0.0, |(_, part)| *part)
    };
    // The scalar unit has three statements before it waits.
    assert!((stall(Pipe::S, Reason::Flag(Pipe::Mte2)) - part(loaded - 6)).abs() < 1e-12);
    assert!((stall(Pipe::S, Reason::Start) - part(chip().kernel_start())).abs() < 1e-12);
    assert!(stall(Pipe::S, Reason::Barrier) > 0.0 && stall(Pipe::Mte1, Reason::Dispatch) > 0.0);
    assert!((report.busy(Core::Cube, Pipe::Mte1).expect("it ran") - part(2 * 52)).abs() < 1e-12);
}

#[test]
fn a_full_queue_holds_the_scalar_unit() {
    let body = "for i in 0..100 {\nmmad.f16 L0C[0], L0A[0], L0B[0], m=128, k=64, n=256, init=1\n}\n\
                nd2nz.f16 L1[0], A[0], rows=16, cols=16";
    let (_, report) = run(&format!("{TENSORS}cube {{\n{body}\n}}"));
    let stalls = report.stalls(Core::Cube, Pipe::S);
    let full = stalls.iter().find(|(why, _)| *why == Reason::Queue(Pipe::M)).expect("it had to wait");
    assert!(full.1 > 0.5, "{stalls:?}");
    assert!(report.stalls(Core::Cube, Pipe::Mte2).iter().any(|(why, _)| *why == Reason::Queue(Pipe::M)));
}

#[test]
fn cores_tell_each_other() {
    let tell = format!(
        "{TENSORS}cube {{\ncross_wait M, 0\nmmad.f16 L0C[0], L0A[0], L0B[0], m=16, k=16, n=16, init=1\n}}\n\
         vector {{\nvabs.f32 UB[0], UB[0], rows=1, cols=4096\ncross_set V, 0\n}}"
    );
    // Both vector cores say so once their results are there; it is seen 200 cycles later.
    assert_eq!(cycles(&tell), 2 + 64 + 31 + 200 + 17);
    // All cube cores wait for the last of them.
    let all = format!(
        "{TENSORS}blocks 4\ncube {{\nfor i in 0..core {{\n\
         mmad.f16 L0C[0], L0A[0], L0B[0], m=128, k=64, n=256, init=1\n}}\ncross_set M, 0, to=all\ncross_wait M, 0\n}}"
    );
    // The last has four statements before its first product: the loop, an iteration, the product, and the loop's end.
    let time = cycles(&all);
    let products = 3 * 528;
    assert!((products + 200..products + 230).contains(&time), "{time}");
}

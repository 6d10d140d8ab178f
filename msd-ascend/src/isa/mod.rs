//! THE instruction table: mnemonic, pipe, operands with their memories, types, what it touches, what it
//! costs, what it means. Assembler, disassembler, verifier, interpreters and docs/isa.md derive from it.
//! Owns the rows; regions are computed in `region.rs`, costs in `cost.rs`, meanings in [`crate::values`].

pub mod cost;
pub mod memory;
mod operand;
pub(crate) mod region;

use msd_ir::dtype::DType;

use crate::chip::Chip;
use crate::values::{self, Run};
use cost::Rule;
use memory::{Core, Pipe, Place, Region, Space};
pub use operand::{Kind, MAX_ID, Operand};
use operand::{default, flag, float, id, int, pipe, read, update, word, write};

/// Most operands in memory, and most others.
pub const MAX_PLACES: usize = 5;
/// Most operands that are not in memory.
pub const MAX_INTS: usize = 7;

/// An instruction about to execute: operands have their values.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    /// What it does.
    pub op: Op,
    /// Types of its operands.
    pub types: [Option<DType>; 2],
    /// Operands in memory, in the order of the table.
    pub places: [Place; MAX_PLACES],
    /// The others: numbers, bits of floats, indexes of pipes and words.
    pub ints: [i64; MAX_INTS],
}

impl Issue {
    /// Type of its elements.
    pub fn dtype(&self) -> DType {
        self.types[0].unwrap_or(DType::I8)
    }

    /// Type of its results, where it is another one.
    pub fn to(&self) -> DType {
        self.types[1].unwrap_or_else(|| self.dtype())
    }

    /// Whether its result is added to what is there.
    pub fn adds(&self) -> bool {
        let others = self.op.spec().operands.iter().filter(|o| !o.is_place());
        others.zip(self.ints).any(|(operand, value)| *operand == ATOMIC && value != 0)
    }

    /// The pipe that executes it.
    pub fn pipe(&self) -> Pipe {
        match self.op.spec().unit {
            Unit::Pipe(pipe) => pipe,
            Unit::Operand(index) => Pipe::ALL[self.ints[index] as usize % Pipe::COUNT],
        }
    }
}

/// Who executes an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// This pipe.
    Pipe(Pipe),
    /// The pipe that this operand names, counted among those not in memory.
    Operand(usize),
}

/// Types an instruction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// None.
    None,
    /// One of these.
    One(&'static [DType]),
    /// A type of operands and one of results.
    Pair(&'static [(DType, DType)]),
    /// Two types that the cube multiplies with block scales.
    Scaled,
    /// A cast that the chip has.
    Cast,
}

impl Types {
    /// Whether an instruction may be written with these; whether a chip has them is another question.
    pub fn allow(&self, types: [Option<DType>; 2]) -> bool {
        match (self, types) {
            (Types::None, [None, None]) => true,
            (Types::One(list), [Some(dtype), None]) => list.contains(&dtype),
            (Types::Pair(list), [Some(from), Some(to)]) => list.contains(&(from, to)),
            (Types::Scaled | Types::Cast, [Some(_), Some(_)]) => true,
            _ => false,
        }
    }
}

/// Regions of an instruction.
pub type Regions = Vec<Region>;

/// A row of the table.
pub struct Spec {
    /// Its name.
    pub mnemonic: &'static str,
    /// Who executes it.
    pub unit: Unit,
    /// Core that has it; none for both.
    pub core: Option<Core>,
    /// Types it takes.
    pub types: Types,
    /// Its operands.
    pub operands: &'static [Operand],
    /// What it does, as a formula or a sentence.
    pub meaning: &'static str,
    /// Bytes it touches.
    pub regions: fn(&Issue, &Chip) -> Regions,
    /// What it costs.
    pub cost: Rule,
    /// Does it.
    pub run: Run,
}

macro_rules! instructions {
    ($($(#[doc = $meaning:literal])* $op:ident {
        $mnemonic:literal, $unit:expr, $core:expr, $types:expr, $operands:expr,
        $regions:expr, $cost:expr, $run:expr $(,)?
    })*) => {
        /// An instruction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op { $($(#[doc = $meaning])* $op,)* }

        impl Op {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Op] = &[$(Op::$op,)*];

            /// Its row of the table.
            pub fn spec(self) -> &'static Spec {
                &TABLE[self as usize]
            }
        }

        static TABLE: &[Spec] = &[$(Spec {
            mnemonic: $mnemonic,
            unit: $unit,
            core: $core,
            types: $types,
            operands: $operands,
            meaning: concat!($($meaning),*),
            regions: $regions,
            cost: $cost,
            run: $run,
        },)*];
    };
}

impl Op {
    /// The instruction of that name.
    pub fn named(mnemonic: &str) -> Option<Op> {
        Op::ALL.iter().copied().find(|op| op.spec().mnemonic == mnemonic)
    }
}

use DType::{BF16, E1M2, E2M1, E4M3, E5M2, E8M0, F16, F32, I4, I8, I16, I32, U8};
use Space::{Gm, L0a, L0as, L0b, L0bs, L0c, L1, Ub};

const CUBE: Option<Core> = Some(Core::Cube);
const VECTOR: Option<Core> = Some(Core::Vector);

/// What the cube takes, of which a chip has some.
const FACTORS: &[DType] = &[F16, BF16, I8, I4, E4M3, E5M2, E2M1, E1M2];
/// What moves without a change.
const MOVED: &[DType] = &[F32, F16, BF16, I32, I16, I8, U8, I4, DType::U4, E4M3, E5M2, E2M1, E1M2, E8M0];
/// Types of results on their way out of L0C.
const DRAINED: &[(DType, DType)] =
    &[(F32, F32), (F32, F16), (F32, BF16), (F32, I8), (I32, I32), (I32, F16), (I32, F32), (I32, I8)];
/// What the vector unit computes with.
const NUMBERS: &[DType] = &[F32, F16, I32, I16];
const FLOATS: &[DType] = &[F32, F16];
const BITS: &[DType] = &[I32, I16];

const ATOMIC: Operand = word("atomic", &["none", "add"]);
const CONDITIONS: &[&str] = &["lt", "le", "eq", "ne", "ge", "gt"];
/// How many rows an instruction takes; one `repeat` of the hardware each.
/// Most rows, and most columns, of what one instruction moves or computes.
pub(crate) const MOST_EXTENT: i64 = 65535;

const ROWS: Operand = int("rows", 1, MOST_EXTENT);
const COLS: Operand = int("cols", 1, MOST_EXTENT);
/// Operands of most vector operations.
const UNARY: &[Operand] = &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS];
const BINARY: &[Operand] = &[write("dst", &[Ub]), read("a", &[Ub]), read("b", &[Ub]), ROWS, COLS];

instructions! {
    /// `L1[nz(i, j)] = GM[i * ld + j]`, rows filled to 16 and columns to 32 bytes with zeros;
    /// `height` rows of the whole NZ matrix lie between its columns of fractals.
    Nd2nz {
        "nd2nz", Unit::Pipe(Pipe::Mte2), CUBE, Types::One(FACTORS),
        &[write("dst", &[L1]), read("src", &[Gm]), ROWS, COLS, default("ld", 0), default("height", 0)],
        region::nd2nz, cost::READ, values::movement::nd2nz,
    }
    /// `dst[i, j] = GM[i * ld + j]`, rows as they are; on chip they start 32 bytes apart or as `dst` says.
    Load {
        "load", Unit::Pipe(Pipe::Mte2), None, Types::One(MOVED),
        &[write("dst", &[L1, Ub]), read("src", &[Gm]), ROWS, COLS, default("ld", 0)],
        region::load, cost::READ, values::movement::load,
    }
    /// `GM[i * ld + j] = src[i, j]`, or added to what is there.
    Store {
        "store", Unit::Pipe(Pipe::Mte3), VECTOR, Types::One(MOVED),
        &[write("dst", &[Gm]), read("src", &[Ub]), ROWS, COLS, default("ld", 0), ATOMIC],
        region::store, cost::WRITE, values::movement::store,
    }
    /// `L1[nz(i, j)] = src[i, j]`, on chips with a way from UB to L1.
    StoreNz {
        "store_nz", Unit::Pipe(Pipe::Mte3), VECTOR, Types::One(FACTORS),
        &[write("dst", &[L1]), read("src", &[Ub]), ROWS, COLS, default("height", 0)],
        region::store_nz, cost::STORE_NZ, values::movement::store_nz,
    }
    /// Left operand of a product, `m` by `k`, from NZ in L1 to the layout of L0A.
    LoadA {
        "load_a", Unit::Pipe(Pipe::Mte1), CUBE, Types::One(FACTORS),
        &[write("dst", &[L0a]), read("src", &[L1]), int("m", 1, 4095), int("k", 1, 4095), default("height", 0)],
        region::load_a, cost::LOAD_A, values::movement::load_a,
    }
    /// Right operand, `k` by `n`, from NZ in L1 that holds it as `n` rows of `k`: a weight as stored.
    LoadB {
        "load_b", Unit::Pipe(Pipe::Mte1), CUBE, Types::One(FACTORS),
        &[write("dst", &[L0b]), read("src", &[L1]), int("k", 1, 4095), int("n", 1, 4095), default("height", 0)],
        region::load_b, cost::LOAD_B, values::movement::load_b,
    }
    /// Right operand, `k` by `n`, from NZ in L1 that holds it as `k` rows of `n`: fractals are transposed.
    LoadBt {
        "load_bt", Unit::Pipe(Pipe::Mte1), CUBE, Types::One(FACTORS),
        &[write("dst", &[L0b]), read("src", &[L1]), int("k", 1, 4095), int("n", 1, 4095), default("height", 0)],
        region::load_bt, cost::LOAD_B, values::movement::load_bt,
    }
    /// Scales of blocks of 32 along the contraction, `rows` by `blocks`, from dense rows in L1.
    LoadScales {
        "load_scales", Unit::Pipe(Pipe::Mte1), CUBE, Types::One(&[E8M0]),
        &[write("dst", &[L0as, L0bs]), read("src", &[L1]), int("rows", 1, 4095), int("blocks", 1, 127)],
        region::load_scales, cost::LOAD_SCALES, values::movement::load_scales,
    }
    /// `L0C[i, j] = (init ? 0 : L0C[i, j]) + sum_k L0A[i, k] * L0B[k, j]`: integers exactly in I32, floats in
    /// F32 with `k` ascending, each step fused.
    Mmad {
        "mmad", Unit::Pipe(Pipe::M), CUBE, Types::One(FACTORS),
        &[
            update("acc", &[L0c]), read("a", &[L0a]), read("b", &[L0b]),
            int("m", 1, 4095), int("k", 1, 4095), int("n", 1, 4095), int("init", 0, 1),
        ],
        region::mmad, cost::MMAD, values::product::mmad,
    }
    /// The same of small floats with a scale per row and block of 32: each block's sum exactly, times both
    /// scales, is added in F32, blocks ascending.
    MmadMx {
        "mmad_mx", Unit::Pipe(Pipe::M), CUBE, Types::Scaled,
        &[
            update("acc", &[L0c]), read("a", &[L0a]), read("b", &[L0b]), read("sa", &[L0as]), read("sb", &[L0bs]),
            int("m", 1, 4095), int("k", 1, 4095), int("n", 1, 4095), int("init", 0, 1),
        ],
        region::mmad, cost::MMAD, values::product::mmad_mx,
    }
    /// `dst[i, j] = cast(relu(L0C[i, j] * scale))` in F32; the mantissa of `scale` is cut to 10 bits. I32 to I32
    /// with a scale of 1 passes as it is; integers are rounded to nearest even and saturate. `ld` is the row of GM,
    /// or the height of NZ in L1; `height` is that of the whole of L0C's matrix, from 16 to 16 rows of which `acc`
    /// may be.
    Fix {
        "fix", Unit::Pipe(Pipe::Fix), CUBE, Types::Pair(DRAINED),
        &[
            write("dst", &[Gm, L1, Ub]), read("acc", &[L0c]), int("m", 1, 4095), int("n", 1, 4095),
            default("ld", 0), ATOMIC, flag("relu"), default("height", 0), float("scale", 1.0),
        ],
        region::fix, cost::FIX, values::product::fix,
    }
    /// The same with a scale for each column, `F32[n]` in L1.
    FixColumns {
        "fix_columns", Unit::Pipe(Pipe::Fix), CUBE, Types::Pair(DRAINED),
        &[
            write("dst", &[Gm, L1, Ub]), read("acc", &[L0c]), read("scales", &[L1]), int("m", 1, 4095),
            int("n", 1, 4095), default("ld", 0), ATOMIC, flag("relu"), default("height", 0),
        ],
        region::fix, cost::FIX, values::product::fix_columns,
    }
    /// `dst = value`
    Vdup {
        "vdup", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), ROWS, COLS, float("value", 0.0)],
        region::vector, cost::ONE_SOURCE, values::vector::dup,
    }
    /// `dst = a`
    Vcopy {
        "vcopy", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        UNARY,
        region::vector, cost::ONE_SOURCE, values::vector::copy,
    }
    /// `dst = |a|`
    Vabs {
        "vabs", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::vector, cost::ONE_SOURCE, values::vector::abs,
    }
    /// `dst = max(a, 0)`
    Vrelu {
        "vrelu", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::vector, cost::ONE_SOURCE, values::vector::relu,
    }
    /// `dst = a + value`
    Vadds {
        "vadds", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, float("value", 0.0)],
        region::vector, cost::ONE_SOURCE, values::vector::adds,
    }
    /// `dst = a * value`
    Vmuls {
        "vmuls", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, float("value", 1.0)],
        region::vector, cost::ONE_SOURCE, values::vector::muls,
    }
    /// `dst = max(a, value)`
    Vmaxs {
        "vmaxs", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, float("value", 0.0)],
        region::vector, cost::ONE_SOURCE, values::vector::maxs,
    }
    /// `dst = min(a, value)`
    Vmins {
        "vmins", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, float("value", 0.0)],
        region::vector, cost::ONE_SOURCE, values::vector::mins,
    }
    /// `dst = a << bits`
    Vshl {
        "vshl", Unit::Pipe(Pipe::V), VECTOR, Types::One(BITS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, int("bits", 0, 31)],
        region::vector, cost::ONE_SOURCE, values::vector::shl,
    }
    /// `dst = a >> bits`, the sign moves in
    Vshr {
        "vshr", Unit::Pipe(Pipe::V), VECTOR, Types::One(BITS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, int("bits", 0, 31)],
        region::vector, cost::ONE_SOURCE, values::vector::shr,
    }
    /// `dst = exp(a)`
    Vexp {
        "vexp", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::vector, cost::EXP, values::vector::exp,
    }
    /// `dst = log(a)`
    Vln {
        "vln", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::vector, cost::EXP, values::vector::ln,
    }
    /// `dst = sqrt(a)`
    Vsqrt {
        "vsqrt", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::vector, cost::EXP, values::vector::sqrt,
    }
    /// `dst = a + b`
    Vadd {
        "vadd", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::add,
    }
    /// `dst = a - b`
    Vsub {
        "vsub", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::sub,
    }
    /// `dst = a * b`
    Vmul {
        "vmul", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::mul,
    }
    /// `dst = a / b`
    Vdiv {
        "vdiv", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        BINARY,
        region::vector, cost::DIVIDE, values::vector::div,
    }
    /// `dst = max(a, b)`
    Vmax {
        "vmax", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::max,
    }
    /// `dst = min(a, b)`
    Vmin {
        "vmin", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::min,
    }
    /// `dst = a & b`, bit by bit
    Vand {
        "vand", Unit::Pipe(Pipe::V), VECTOR, Types::One(BITS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::and,
    }
    /// `dst = a | b`, bit by bit
    Vor {
        "vor", Unit::Pipe(Pipe::V), VECTOR, Types::One(BITS),
        BINARY,
        region::vector, cost::TWO_SOURCES, values::vector::or,
    }
    /// `dst = dst + a * b`, rounded once
    Vmla {
        "vmla", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        &[update("dst", &[Ub]), read("a", &[Ub]), read("b", &[Ub]), ROWS, COLS],
        region::vector, cost::TWO_SOURCES, values::vector::mla,
    }
    /// Bit `j` of a row of `dst` is `a[j] cond b[j]`.
    Vcmp {
        "vcmp", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("a", &[Ub]), read("b", &[Ub]), ROWS, COLS, word("cond", CONDITIONS)],
        region::vcmp, cost::TWO_SOURCES, values::vector::cmp,
    }
    /// `dst[j] = bit j of mask ? a[j] : b[j]`
    Vsel {
        "vsel", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("mask", &[Ub]), read("a", &[Ub]), read("b", &[Ub]), ROWS, COLS],
        region::vsel, cost::TWO_SOURCES, values::vector::sel,
    }
    /// `dst = a` in the other type. Floats to integers are rounded as `round` says and saturate, NaN to 0; all
    /// else is rounded to nearest even.
    Vcast {
        "vcast", Unit::Pipe(Pipe::V), VECTOR, Types::Cast,
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS, COLS, word("round", &["rint", "floor", "ceil", "trunc"])],
        region::vcast, cost::CAST, values::vector::cast,
    }
    /// `dst[i] = max_j a[i, j]`, results one after the other.
    Vrmax {
        "vrmax", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::reduce, cost::REDUCE, values::vector::row_max,
    }
    /// `dst[i] = sum_j a[i, j]`: halves are added until one element is left, each sum rounded.
    Vrsum {
        "vrsum", Unit::Pipe(Pipe::V), VECTOR, Types::One(FLOATS),
        UNARY,
        region::reduce, cost::REDUCE, values::vector::row_sum,
    }
    /// 32 bytes full of each element: `dst[i, j] = a[i]` for `rows` elements.
    Vbrcb {
        "vbrcb", Unit::Pipe(Pipe::V), VECTOR, Types::One(NUMBERS),
        &[write("dst", &[Ub]), read("a", &[Ub]), ROWS],
        region::broadcast, cost::BROADCAST, values::vector::broadcast,
    }
    /// Sets flag `id` from `P` to `Q` once everything before it in `P` is through.
    SetFlag {
        "set_flag", Unit::Operand(0), None, Types::None, &[pipe("P"), pipe("Q"), id("id")],
        region::none, cost::SYNC, values::nothing,
    }
    /// `Q` waits for flag `id` from `P` and takes it.
    WaitFlag {
        "wait_flag", Unit::Operand(1), None, Types::None, &[pipe("P"), pipe("Q"), id("id")],
        region::none, cost::SYNC, values::nothing,
    }
    /// `P` waits until everything before it in `P` is through.
    Barrier {
        "barrier", Unit::Operand(0), None, Types::None, &[pipe("P")],
        region::none, cost::SYNC, values::nothing,
    }
    /// The scalar unit waits until every pipe of its core is through.
    BarrierAll {
        "barrier_all", Unit::Pipe(Pipe::S), None, Types::None, &[],
        region::none, cost::SYNC, values::nothing,
    }
    /// Once everything before it in `P` is through, counter `id` goes up: with `to=group` that of the vector
    /// cores beside a cube core, or that of the cube core once all its vector cores have said so; with
    /// `to=all` that of every core of this kind, once all of them have.
    CrossSet {
        "cross_set", Unit::Operand(0), None, Types::None,
        &[pipe("P"), id("id"), word("to", &["group", "all"])],
        region::none, cost::SYNC, values::nothing,
    }
    /// `P` waits for this core's counter `id` to be above 0 and takes 1 off it.
    CrossWait {
        "cross_wait", Unit::Operand(0), None, Types::None, &[pipe("P"), id("id")],
        region::none, cost::SYNC, values::nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_an_issue() {
        for op in Op::ALL {
            let spec = op.spec();
            let places = spec.operands.iter().filter(|o| o.is_place()).count();
            assert!(places <= MAX_PLACES && spec.operands.len() - places <= MAX_INTS, "{}", spec.mnemonic);
            assert_eq!(Op::named(spec.mnemonic), Some(*op));
            assert!(!spec.meaning.trim().is_empty());
            let after = spec.operands.iter().skip_while(|o| o.is_place() || matches!(o.kind, Kind::Pipe));
            assert!(after.clone().all(|o| !o.is_place()), "{}: operands in memory come first", spec.mnemonic);
        }
    }

    /// Operands in memory at places of their own, everything else as small as it may be.
    fn smallest(op: Op) -> Issue {
        let spec = op.spec();
        let types = match spec.types {
            Types::None => [None, None],
            Types::One(list) => [Some(list[0]), None],
            Types::Pair(list) => [Some(list[0].0), Some(list[0].1)],
            Types::Scaled => [Some(E4M3), Some(E4M3)],
            Types::Cast => [Some(F32), Some(F16)],
        };
        let nowhere = Place { space: Gm, tensor: 0, offset: 0, row: None, block: 32 };
        let mut issue = Issue { op, types, places: [nowhere; MAX_PLACES], ints: [0; MAX_INTS] };
        for (index, operand) in spec.operands.iter().filter(|o| o.is_place()).enumerate() {
            let Kind::Place { spaces, .. } = operand.kind else { continue };
            issue.places[index] = Place { space: spaces[0], offset: (index as i64 + 1) << 16, ..nowhere };
        }
        for (int, operand) in issue.ints.iter_mut().zip(spec.operands.iter().filter(|o| !o.is_place())) {
            *int = match operand.kind {
                Kind::Int(low, _, said) => said.unwrap_or(low),
                _ => 0,
            };
        }
        issue
    }

    #[test]
    fn regions_are_what_the_row_says_of_its_operands() {
        let chip = Chip::named("ascend-950").expect("it comes along");
        for op in Op::ALL {
            let (issue, spec) = (smallest(*op), op.spec());
            let regions = (spec.regions)(&issue, &chip);
            let mut told = 0;
            for (operand, place) in spec.operands.iter().filter(|o| o.is_place()).zip(&issue.places) {
                let Kind::Place { reads, writes, .. } = operand.kind else { continue };
                let bits = if *op == Op::Fix || *op == Op::FixColumns { issue.to() } else { issue.dtype() }.bits();
                let start = if place.space == Gm { place.offset * i64::from(bits) / 8 } else { place.offset };
                let is_here = |r: &&Region| r.space == place.space && r.start == start;
                let of = |writes: bool| regions.iter().filter(is_here).filter(|r| r.writes == writes).count();
                let name = format!("{}: {}", spec.mnemonic, operand.name);
                assert_eq!((of(false) > 0, of(true) > 0), (reads, writes), "{name}");
                told += of(false) + of(true);
            }
            assert_eq!(told, regions.len(), "{}: a region of no operand", spec.mnemonic);
        }
    }
}

//! Whether a chip can execute an instruction: its core has it, its types and paths exist, its operands lie within
//! their memories and are aligned. Owns these conditions, which every interpreter asks for; order between
//! instructions is `order.rs`'s.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;

use crate::chip::Chip;
use crate::engine::core_name;
use crate::expr::{Expr, Slot};
use crate::form;
use crate::isa::memory::{Core, Pipe, Place, Region, Space};
use crate::isa::region::{FRACTAL, round_up};
use crate::isa::{Issue, Kind, Op, Regions, Types, Unit};
use crate::program::{BLOCKS, Instruction, MAX_GM_BYTES, Program, Purpose};
use crate::unroll::{CoreId, Unroll};

/// Furthest that rows and blocks of an operand may be apart.
const MAX_STRIDE: i64 = 1 << 31;

/// A program's tensors and cores on a chip.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Bytes of each tensor.
    pub tensors: Vec<i64>,
    /// Shape of each tensor.
    pub shapes: Vec<Vec<usize>>,
    names: Vec<String>,
    dtypes: Vec<DType>,
    /// Cube cores that run it.
    pub blocks: i64,
    /// Cores that run it.
    pub cores: Vec<CoreId>,
}

impl Machine {
    /// Works out sizes and cores.
    ///
    /// # Errors
    /// If a size has no value, or the chip has fewer cores or less memory.
    pub fn new(program: &Program, chip: &Chip) -> Result<Machine, Diagnostic> {
        form::check(program)?;
        let may_read = |slot: Slot| slot == BLOCKS || program.params.iter().any(|p| p.slot == slot);
        let value = |expr: &Expr, blocks: i64| {
            if !expr.variables().all(may_read) || (blocks == 0 && expr.variables().any(|slot| slot == BLOCKS)) {
                let message = "a size may depend on parameters alone".to_string();
                return Err(Diagnostic::new(Code::BadOperand, message).help("those of tensors on `blocks` as well"));
            }
            let variables = program.start(0, 0, blocks);
            expr.value(&variables).map_err(|why| Diagnostic::new(Code::NoValue, why.to_string()))
        };
        let blocks = value(&program.blocks, 0)?;
        let most = *chip.cores.cube as i64;
        if !(1..=most).contains(&blocks) {
            let message = format!("{blocks} blocks, but {} has 1 to {most} cube cores", chip.name);
            return Err(Diagnostic::new(Code::NotOnChip, message).help("set `blocks` to the cores that shall run it"));
        }
        let (mut tensors, mut shapes) = (Vec::new(), Vec::new());
        let mut total = 0i64;
        for tensor in &program.tensors {
            let located = |d: Diagnostic| d.at_known(tensor.span);
            let sizes = tensor.shape.iter().map(|size| value(size, blocks)).collect::<Result<Vec<_>, _>>();
            let shape = sizes.map_err(located)?;
            if let Some(size) = shape.iter().find(|size| **size < 0) {
                let message = format!("`{}` has a dimension of {size}", tensor.name);
                return Err(located(Diagnostic::new(Code::BadOperand, message).help("sizes are at least 0")));
            }
            let bits = shape.iter().try_fold(i64::from(tensor.dtype.bits()), |all, size| all.checked_mul(*size));
            if bits.is_some_and(|bits| bits % 8 != 0) {
                let message = format!("`{}` of shape {shape:?} ends within a byte", tensor.name);
                return Err(located(
                    Diagnostic::new(Code::Misaligned, message).help("elements of 4 bits come in pairs"),
                ));
            }
            let bytes = bits.map(|bits| bits / 8);
            total = total.saturating_add(bytes.unwrap_or(i64::MAX));
            if total > MAX_GM_BYTES as i64 {
                let message = format!("`{}` of shape {shape:?} is more than the memory of a chip", tensor.name);
                let help = format!("all tensors together have at most {MAX_GM_BYTES} bytes");
                return Err(located(Diagnostic::new(Code::OutOfMemory, message).help(help)));
            }
            tensors.push(bytes.unwrap_or(0));
            shapes.push(shape.iter().map(|size| *size as usize).collect());
        }
        let mut cores = Vec::new();
        for group in 0..blocks as u32 {
            if !program.cube.is_empty() {
                cores.push(CoreId { kind: Core::Cube, group, sub: 0 });
            }
            if !program.vector.is_empty() && *chip.cores.vectors_per_cube == 0 {
                return Err(not_on_chip(chip, "vector cores"));
            }
            if !program.vector.is_empty() {
                let subs = 0..*chip.cores.vectors_per_cube as u32;
                cores.extend(subs.map(|sub| CoreId { kind: Core::Vector, group, sub }));
            }
        }
        let names = program.tensors.iter().map(|t| t.name.clone()).collect();
        let dtypes = program.tensors.iter().map(|t| t.dtype).collect();
        Ok(Machine { tensors, shapes, names, dtypes, blocks, cores })
    }

    /// The core whose memory `core` means by a space: cube and vector cores of a group reach each other's where the
    /// chip has a way. Two vector cores share what comes to UB out of L0C: it is the first one's.
    pub(crate) fn owner(&self, index: usize, core: CoreId, space: Space) -> usize {
        let kind = match space {
            Space::Gm => return index,
            Space::Ub => Core::Vector,
            _ => Core::Cube,
        };
        if kind == core.kind {
            return index;
        }
        let other = self.cores.iter().position(|c| c.kind == kind && c.group == core.group);
        other.unwrap_or(index)
    }

    /// Bytes and purpose of each tensor.
    pub(crate) fn tensor_purposes(&self, program: &Program) -> Vec<(u64, Purpose)> {
        self.tensors.iter().zip(&program.tensors).map(|(bytes, t)| (*bytes as u64, t.purpose)).collect()
    }

    /// Checks an instruction; what it touches.
    ///
    /// # Errors
    /// What the chip cannot do, with the place of the instruction.
    pub fn check(
        &self,
        instruction: &Instruction,
        issue: &Issue,
        core: Core,
        chip: &Chip,
    ) -> Result<Regions, Diagnostic> {
        let located = |d: Diagnostic| d.at_known(instruction.span);
        on_chip(issue, core, chip).map_err(located)?;
        operands(issue, core).map_err(located)?;
        self.element_types(issue).map_err(located)?;
        let regions = (issue.op.spec().regions)(issue, chip);
        for region in &regions {
            self.within(region, chip).map_err(located)?;
        }
        in_place(issue, &regions).map_err(located)?;
        Ok(regions)
    }

    /// What is read or written in GM is as wide as the tensor's elements: offsets count them.
    fn element_types(&self, issue: &Issue) -> Result<(), Diagnostic> {
        let (place, dtype) = match issue.op {
            Op::Nd2nz | Op::Load => (&issue.places[1], issue.dtype()),
            Op::Store => (&issue.places[0], issue.dtype()),
            Op::Fix | Op::FixColumns if issue.places[0].space == Space::Gm => (&issue.places[0], issue.to()),
            _ => return Ok(()),
        };
        let tensor = usize::from(place.tensor);
        if self.dtypes.get(tensor).is_none_or(|d| d.bits() == dtype.bits()) {
            return Ok(());
        }
        let (name, stored) = (&self.names[tensor], self.dtypes[tensor].name());
        let message = format!("{} of `{name}`, whose elements are {stored}", dtype.name());
        Err(Diagnostic::new(Code::BadOperand, message).help("offsets count elements: declare the tensor as it is used"))
    }

    fn within(&self, region: &Region, chip: &Chip) -> Result<(), Diagnostic> {
        let size = match region.space {
            Space::Gm => self.tensors.get(usize::from(region.tensor)).copied().unwrap_or(0),
            space => capacity(space, chip) as i64,
        };
        if region.start >= 0 && region.end() <= size {
            return Ok(());
        }
        let verb = if region.writes { "writes" } else { "reads" };
        let name = match region.space {
            Space::Gm => self.names.get(usize::from(region.tensor)).map_or("", String::as_str),
            space => space.name(),
        };
        let message = format!("{verb} bytes {} to {} of {name}, which has {size}", region.start, region.end());
        Err(Diagnostic::new(Code::OutOfMemory, message)
            .help("offset, extents or distances of the operand are too large"))
    }
}

/// Bytes of a memory on chip.
pub fn capacity(space: Space, chip: &Chip) -> u64 {
    let memory = &chip.memory;
    match space {
        Space::Gm => 0,
        Space::L1 => *memory.l1,
        Space::L0a => *memory.l0a,
        Space::L0b => *memory.l0b,
        Space::L0c => *memory.l0c,
        Space::L0as | Space::L0bs => *memory.l0_scales,
        Space::Ub => *memory.ub,
    }
}

fn not_on_chip(chip: &Chip, what: impl AsRef<str>) -> Diagnostic {
    Diagnostic::new(Code::NotOnChip, format!("{} has no {}", chip.name, what.as_ref()))
        .help("docs/isa.md says what each instruction needs, and the chip's file what the chip has")
}

fn not_on_core(core: Core, what: &str) -> Diagnostic {
    Diagnostic::new(Code::NotOnChip, format!("a {} core has no {what}", core.name()))
        .help("docs/npu-model.md shows what each kind of core has, docs/isa.md which instruction is whose")
}

/// Whether core and chip have the instruction for these types.
fn on_chip(issue: &Issue, core: Core, chip: &Chip) -> Result<(), Diagnostic> {
    let spec = issue.op.spec();
    let name = spec.mnemonic;
    if spec.core.is_some_and(|has| has != core) {
        return Err(not_on_core(core, &format!("`{name}`")));
    }
    for (operand, value) in spec.operands.iter().filter(|o| !o.is_place()).zip(issue.ints) {
        let pipe = Pipe::ALL[value.rem_euclid(Pipe::COUNT as i64) as usize];
        if operand.kind == Kind::Pipe && !core.has(pipe) {
            return Err(not_on_core(core, &format!("pipe {}", pipe.name())));
        }
    }
    let (a, b) = (issue.dtype(), issue.to());
    match spec.types {
        Types::Cast if !chip.casts(a, b) => {
            let message = format!("cast from {} to {} in one step", a.name(), b.name());
            return Err(not_on_chip(chip, message));
        }
        Types::Scaled if !scales(a, b, chip) => {
            return Err(not_on_chip(chip, format!("product of {} and {} with block scales", a.name(), b.name())));
        }
        _ if issue.op == Op::LoadScales && *chip.memory.l0_scales == 0 => {
            return Err(not_on_chip(chip, "product with block scales"));
        }
        _ if issue.op == Op::Mmad && chip.multiplies(a).is_none() => {
            return Err(not_on_chip(chip, format!("product of {}", a.name())));
        }
        _ => {}
    }
    let (id, most) = match issue.op {
        Op::SetFlag | Op::WaitFlag => (issue.ints[2], *chip.limits.flags),
        Op::CrossSet | Op::CrossWait => (issue.ints[1], *chip.limits.counters),
        _ => (0, 1),
    };
    if id >= most as i64 {
        return Err(not_on_chip(chip, format!("flag or counter {id}; it has {most}")));
    }
    let to = issue.places[0].space;
    let adds = matches!(b, DType::F32 | DType::F16 | DType::BF16 | DType::I32);
    if issue.adds() && (to != Space::Gm || !adds) {
        return Err(not_on_chip(chip, format!("addition of {} in {}", b.name(), to.name())));
    }
    match issue.op {
        Op::Fix | Op::FixColumns if to == Space::Ub && issue.ints[2] != 0 => {
            let message = "`ld` is a row of GM or a height in L1".to_string();
            Err(Diagnostic::new(Code::BadOperand, message)
                .help("rows of UB lie as far apart as `dst` says: `UB[0 row 128]`"))
        }
        Op::StoreNz if !*chip.abilities.ub_to_l1 => Err(not_on_chip(chip, "way from UB to L1")),
        Op::Fix | Op::FixColumns if to == Space::Ub && !*chip.abilities.l0c_to_ub => {
            Err(not_on_chip(chip, "way from L0C to UB"))
        }
        _ => Ok(()),
    }
}

/// Whether the cube multiplies both with block scales: floats of 8 bits with each other, those of 4 likewise.
fn scales(a: DType, b: DType, chip: &Chip) -> bool {
    let both = chip.multiplies(a).is_some() && chip.multiplies(b).is_some();
    both && *chip.memory.l0_scales > 0 && a.is_float() && a.bits() <= 8 && a.bits() == b.bits()
}

/// Alignment of operands, and extents that fit each other.
fn operands(issue: &Issue, core: Core) -> Result<(), Diagnostic> {
    let spec = issue.op.spec();
    let places = spec.operands.iter().filter(|o| o.is_place()).zip(&issue.places);
    for (operand, place) in places {
        let owner = match place.space {
            Space::Gm => core,
            Space::Ub => Core::Vector,
            _ => Core::Cube,
        };
        // L0C to UB and UB to L1 are the ways between both kinds.
        let crosses = matches!((issue.op, operand.name), (Op::Fix | Op::FixColumns | Op::StoreNz, "dst"));
        if owner != core && !crosses {
            return Err(not_on_core(core, place.space.name()));
        }
        // Scales of a block may start anywhere in a row.
        let multiple = if issue.op == Op::LoadScales && operand.name == "src" { 1 } else { place.space.alignment() };
        aligned(operand.name, place, multiple)?;
        distances(issue, operand.name, place)?;
    }
    global_rows(issue)?;
    height(issue)
}

/// A vector operation works on its operand in place or on another: one that overlaps its result in part would be read
/// while it changes.
fn in_place(issue: &Issue, regions: &[Region]) -> Result<(), Diagnostic> {
    if issue.op.spec().unit != Unit::Pipe(Pipe::V) {
        return Ok(());
    }
    let results: Vec<&Region> = regions.iter().filter(|r| r.writes).collect();
    let clashes = |read: &Region| !results.iter().any(|w| w.is_alike(read)) && results.iter().any(|w| w.overlaps(read));
    match regions.iter().filter(|r| !r.writes).any(clashes) {
        true => {
            let message = format!("the result of `{}` overlaps an operand in part", issue.op.spec().mnemonic);
            Err(Diagnostic::new(Code::BadOperand, message).help("take the operand's own place, or one apart from it"))
        }
        false => Ok(()),
    }
}

/// Rows and blocks are said where an instruction has them.
fn distances(issue: &Issue, name: &str, place: &Place) -> Result<(), Diagnostic> {
    let is_vector = matches!(issue.op.spec().unit, Unit::Pipe(Pipe::V)) && issue.op != Op::Vbrcb;
    let is_result = name == "dst" && matches!(issue.op, Op::Vrmax | Op::Vrsum);
    let has_rows = match issue.op {
        Op::Load => name == "dst",
        Op::Fix | Op::FixColumns => name == "dst" && place.space == Space::Ub,
        Op::Store | Op::StoreNz | Op::LoadScales => name == "src",
        _ => is_vector,
    };
    let wrong = if place.row.is_some() && !has_rows {
        "rows"
    } else if place.block != 32 && (!is_vector || is_result) {
        "blocks"
    } else {
        return Ok(());
    };
    let message = format!("`{name}` of `{}` has no {wrong} to be apart", issue.op.spec().mnemonic);
    Err(Diagnostic::new(Code::BadOperand, message)
        .help("leave the distance out; `ld` and `height` are operands of their own"))
}

/// Rows in GM do not overlap, and none starts or ends within a byte.
fn global_rows(issue: &Issue) -> Result<(), Diagnostic> {
    let [rows, cols, third, ..] = issue.ints;
    let (dtype, ld, at) = match issue.op {
        Op::Nd2nz | Op::Load => (issue.dtype(), third, &issue.places[1]),
        Op::Store => (issue.dtype(), third, &issue.places[0]),
        Op::Fix | Op::FixColumns if issue.places[0].space == Space::Gm => (issue.to(), third, &issue.places[0]),
        _ => return Ok(()),
    };
    if ld != 0 && ld < cols && rows > 1 {
        let message = format!("rows of {cols} elements start {ld} apart in GM");
        return Err(Diagnostic::new(Code::Misaligned, message).help("`ld` is at least the length of a row"));
    }
    let bits = i64::from(dtype.bits());
    if [cols, ld, at.offset].iter().any(|n| n.wrapping_mul(bits) % 8 != 0) {
        let message = format!("a row of {} in GM starts or ends within a byte", dtype.name());
        return Err(Diagnostic::new(Code::Misaligned, message).help("elements of 4 bits come in pairs"));
    }
    Ok(())
}

fn aligned(name: &str, place: &Place, multiple: i64) -> Result<(), Diagnostic> {
    if place.offset < 0 {
        let message = format!("`{name}` starts at {}, before its memory", place.offset);
        return Err(Diagnostic::new(Code::OutOfMemory, message).help("an offset is at least 0"));
    }
    if place.offset % multiple != 0 {
        let message = format!("`{name}` starts at {}, which is no multiple of {multiple}", place.offset);
        return Err(Diagnostic::new(Code::Misaligned, message)
            .help(format!("operands in {} start at multiples of {multiple}", place.space.name())));
    }
    let row = place.row.unwrap_or(0);
    let fine = [row, place.block].iter().all(|apart| (0..=MAX_STRIDE).contains(apart) && apart % 32 == 0);
    if !fine {
        let message = format!("`{name}` has rows {row} and blocks {} bytes apart", place.block);
        return Err(
            Diagnostic::new(Code::Misaligned, message).help("rows and blocks are 0 or a multiple of 32 bytes apart")
        );
    }
    Ok(())
}

/// An NZ matrix is at least as high as what is read or written of it, in whole fractals.
fn height(issue: &Issue) -> Result<(), Diagnostic> {
    let [first, second, third, fourth, ..] = issue.ints;
    let (rows, height) = match issue.op {
        Op::Nd2nz => (first, fourth),
        Op::StoreNz | Op::LoadA => (first, third),
        Op::LoadB => (second, third),
        Op::LoadBt => (first, third),
        Op::Fix | Op::FixColumns if issue.places[0].space == Space::L1 => (first, third),
        _ => return Ok(()),
    };
    if height == 0 || (height % FRACTAL == 0 && height >= round_up(rows, FRACTAL)) {
        return Ok(());
    }
    let message = format!("an NZ matrix {height} high does not hold {rows} rows in fractals of {FRACTAL}");
    Err(Diagnostic::new(Code::Misaligned, message).help("`height` is that of the whole matrix in L1, a multiple of 16"))
}

/// A diagnostic with the core it is about and where its loops stand.
pub(crate) fn placed(mut diagnostic: Diagnostic, id: CoreId, unroll: &Unroll<'_>, program: &Program) -> Diagnostic {
    let at = unroll.place(program);
    let at = if at.is_empty() { at } else { format!(" at {at}") };
    diagnostic.message = format!("{}{at}: {}", core_name(id), diagnostic.message);
    diagnostic
}

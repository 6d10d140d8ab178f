//! A linear layer with an INT8 weight on a modelled NPU: multiplied as stored, and dequantized first.
//!
//! ```text
//! cargo run --release --example npu_cycles
//! ```

use msd::ascend::chip::Chip;
use msd::ascend::isa::memory::{Core, Pipe};
use msd::ir::dim::Sizes;
use msd::{Kernel, Lowering, Options};

const TEXT: &str = "kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }";

fn main() -> msd::Result<()> {
    for chip in ["ascend-910b", "ascend-950"] {
        let chip = Chip::named(chip)?;
        println!("{}, N = 14336, K = 4096", chip.name);
        for m in [1, 4, 16, 64, 256] {
            let sizes: Sizes = [("M", m), ("N", 14336), ("K", 4096)].map(|(name, size)| (name.into(), size)).into();
            for lowering in [Lowering::Msd, Lowering::Dequant] {
                let npu = Kernel::new(TEXT, &Options::new().lowering(lowering))?.npu(&chip, &sizes)?;
                let report = npu.cycles()?;
                let busy = |core, pipe| report.busy(core, pipe).unwrap_or(0.0) * 100.0;
                println!(
                    "M = {m:3}  {lowering:8} {:7} cycles  cube {:2.0} %  vector {:2.0} %",
                    report.cycles,
                    busy(Core::Cube, Pipe::M),
                    busy(Core::Vector, Pipe::V),
                );
            }
        }
    }
    Ok(())
}

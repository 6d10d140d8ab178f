//! Block formats: quantized types with a name of their own. Owns the table; where their scales lie
//! is said by the [`crate::types::QuantType`] that the name stands for.

use crate::dtype::DType;

/// A name for `codes` with a scale for each `block` of them along the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFormat {
    /// Name in `.msd` text.
    pub name: &'static str,
    /// Element type of the codes.
    pub codes: DType,
    /// Element type of the scales.
    pub scale: DType,
    /// Codes that share a scale.
    pub block: u64,
}

impl BlockFormat {
    /// MXFP4 of OCP Microscaling Formats v1.0.
    pub const MXFP4: BlockFormat = BlockFormat { name: "mxfp4", codes: DType::E2M1, scale: DType::E8M0, block: 32 };
    /// MXFP8 of the same, with E4M3 elements.
    pub const MXFP8: BlockFormat = BlockFormat { name: "mxfp8", codes: DType::E4M3, scale: DType::E8M0, block: 32 };
    /// NVIDIA's NVFP4, but for its factor for the whole tensor: see [`super::nvfp4`].
    pub const NVFP4: BlockFormat = BlockFormat { name: "nvfp4", codes: DType::E2M1, scale: DType::E4M3, block: 16 };
    /// All of them.
    pub const ALL: [BlockFormat; 3] = [BlockFormat::MXFP4, BlockFormat::MXFP8, BlockFormat::NVFP4];

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<BlockFormat> {
        BlockFormat::ALL.into_iter().find(|format| format.name == name)
    }
}

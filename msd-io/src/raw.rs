//! What a reader hands over: elements as the file stores them, and where they came from. Owns the
//! names of stored element types; refuses to interpret elements (that is `layout.rs`).

use std::fmt;
use std::path::{Path, PathBuf};
#[cfg(feature = "mmap")]
use std::sync::Arc;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::tensor::element_count;

#[cfg(feature = "mmap")]
use crate::mapped::Mapping;

macro_rules! stored_types {
    ($($variant:ident $name:literal $bits:literal $doc:literal;)*) => {
        /// Element type as a file states it, always little-endian.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Stored { $(#[doc = $doc] $variant,)* }

        impl Stored {
            /// Every stored type, those that feed no parameter included.
            pub const ALL: &'static [Stored] = &[$(Stored::$variant,)*];

            /// NumPy's name where it has one.
            pub fn name(self) -> &'static str {
                match self { $(Stored::$variant => $name,)* }
            }

            /// Bits of one element in the file.
            pub fn bits(self) -> usize {
                match self { $(Stored::$variant => $bits,)* }
            }
        }
    };
}

stored_types! {
    F64    "float64"     64 "IEEE binary64; feeds no parameter";
    F32    "float32"     32 "IEEE binary32";
    F16    "float16"     16 "IEEE binary16";
    BF16   "bfloat16"    16 "upper half of a binary32";
    Void16 "void16"      16 "two opaque bytes (npy `V2`), as which NumPy saves bfloat16";
    I64    "int64"       64 "feeds no parameter";
    I32    "int32"       32 "32-bit signed";
    I16    "int16"       16 "feeds no parameter";
    I8     "int8"        8  "8-bit signed";
    U64    "uint64"      64 "feeds no parameter";
    U32    "uint32"      32 "feeds no parameter";
    U16    "uint16"      16 "feeds no parameter";
    U8     "uint8"       8  "8-bit unsigned: numbers, or codes of a small float";
    Bool   "bool"        8  "0 or 1";
    F8E4M3 "float8_e4m3" 8  "codes of `e4m3`";
    F8E5M2 "float8_e5m2" 8  "codes of `e5m2`";
    F8E8M0 "float8_e8m0" 8  "codes of `e8m0`";
    F4     "float4_e2m1" 4  "codes of `e2m1`, two per byte, low nibble first";
}

impl Stored {
    /// Bytes that `shape` takes in a file; `None` if that overflows or ends within a byte.
    pub(crate) fn bytes(self, shape: &[usize]) -> Option<usize> {
        let bits = element_count(shape)?.checked_mul(self.bits())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// How elements follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Last axis fastest.
    C,
    /// First axis fastest.
    Fortran,
}

/// The file, and within it the tensor, that a fault is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    path: PathBuf,
    tensor: Option<String>,
}

impl Origin {
    pub(crate) fn file(path: &Path) -> Origin {
        Origin { path: path.to_owned(), tensor: None }
    }

    pub(crate) fn tensor(&self, name: &str) -> Origin {
        Origin { path: self.path.clone(), tensor: Some(name.to_owned()) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A fault of this file; `predicate` completes the sentence that the origin begins.
    pub(crate) fn fault(&self, code: Code, predicate: impl fmt::Display) -> Diagnostic {
        Diagnostic::new(code, format!("{self} {predicate}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tensor) = &self.tensor {
            write!(f, "tensor `{}` of ", Excerpt(tensor))?;
        }
        write!(f, "`{}`", self.path.display())
    }
}

/// Text out of a file, made fit for a message: control characters escaped, length bounded.
pub(crate) struct Excerpt<'a>(pub(crate) &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 160;
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(LONGEST) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
    }
}

/// The bytes of a tensor.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// Read into memory.
    Read(Vec<u8>),
    /// Part of a mapped file; the range lies inside the mapping.
    #[cfg(feature = "mmap")]
    Mapped(Arc<Mapping>, std::ops::Range<usize>),
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        match self {
            Bytes::Read(bytes) => bytes.len(),
            #[cfg(feature = "mmap")]
            Bytes::Mapped(_, range) => range.len(),
        }
    }

    /// The bytes if they are in memory already, or `self` back.
    pub(crate) fn into_read(self) -> Result<Vec<u8>, Bytes> {
        match self {
            Bytes::Read(bytes) => Ok(bytes),
            #[cfg(feature = "mmap")]
            Bytes::Mapped(..) => Err(self),
        }
    }

    /// Hands the bytes out in order; every piece but the last is a multiple of 64 bytes long.
    pub(crate) fn for_each_piece(&self, mut take: impl FnMut(&[u8])) {
        match self {
            Bytes::Read(bytes) => take(bytes),
            #[cfg(feature = "mmap")]
            Bytes::Mapped(mapping, range) => {
                let mut buffer = [0; 1 << 14];
                for start in range.clone().step_by(buffer.len()) {
                    let piece = &mut buffer[..(range.end - start).min(1 << 14)];
                    mapping.copy(start, piece);
                    take(piece);
                }
            }
        }
    }
}

/// A tensor as its file stores it. The number of bytes matches type and shape.
#[derive(Debug)]
pub struct RawTensor {
    pub(crate) origin: Origin,
    pub(crate) stored: Stored,
    pub(crate) shape: Vec<usize>,
    pub(crate) order: Order,
    pub(crate) bytes: Bytes,
}

impl RawTensor {
    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Element type in the file.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Sizes along each axis as the file states them; half of the last one where 4-bit codes are
    /// stored two per byte in an 8-bit type.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Order of the elements in the file.
    pub fn order(&self) -> Order {
        self.order
    }
}

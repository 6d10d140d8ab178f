//! The npy header: magic, version and a Python dict literal, read and written. Owns the text form;
//! refuses the data behind it.
//!
//! Why not the `npyz` crate (0.9.1), which reads the same headers: from a 13-byte file that claims
//! a 4 GiB header it allocates 4 GiB; a shape such as `(4294967296, 4294967296)` overflows its
//! product of sizes (a panic in debug builds, a wrong count in release ones); and of a key given
//! twice it silently takes the last value. The grammar needed here is smaller than the guards
//! around it would be: one flat dict with the keys `descr`, `fortran_order` and `shape`.

use std::fs;

use msd_ir::diag::{Code, Diagnostic};

use crate::input;
use crate::raw::{Excerpt, Order, Origin, Stored};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header text taken: what version 1 can hold. NumPy itself refuses more than 10,000 bytes.
const LONGEST_TEXT: usize = u16::MAX as usize;
/// NumPy's limit on the number of axes.
pub(crate) const MAX_RANK: usize = 64;
/// NumPy pads headers so that the data starts at a multiple of this.
const ALIGNMENT: usize = 64;

/// What a header states.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) stored: Stored,
    pub(crate) order: Order,
    pub(crate) shape: Vec<usize>,
    /// Offset of the first element in the file.
    pub(crate) data_start: u64,
}

/// Reads the header of a file of `size` bytes.
pub(crate) fn read(file: &mut fs::File, size: u64, origin: &Origin) -> Result<Header, Diagnostic> {
    let malformed = |what: &str| origin.fault(Code::FileMalformed, what);
    let mut left = size;
    let mut take = |count: usize| {
        left = left.checked_sub(count as u64).ok_or_else(|| malformed("ends inside its npy header"))?;
        input::read(file, count, origin)
    };
    let magic = take(MAGIC.len().min(size as usize))?;
    if magic != MAGIC {
        return Err(malformed("is not an npy file: it does not start with \\x93NUMPY"));
    }
    let version = take(2)?;
    let text_length = match version.as_slice() {
        [1, 0] => little_endian(&take(2)?),
        [2 | 3, 0] => little_endian(&take(4)?),
        _ => return Err(malformed("has an npy version other than 1.0, 2.0 and 3.0")),
    };
    if text_length > LONGEST_TEXT {
        return Err(malformed(&format!(
            "claims an npy header of {text_length} bytes; at most {LONGEST_TEXT} are read"
        )));
    }
    let text = take(text_length)?;
    Parser { text: &text, at: 0, origin }.header(size - left)
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |n, b| n << 8 | *b as usize)
}

/// The bytes of a version 1.0 header; `None` if it has too many axes.
pub(crate) fn write(descr: &str, shape: &[usize]) -> Option<Vec<u8>> {
    if shape.len() > MAX_RANK {
        return None;
    }
    let sizes: String = shape.iter().map(|s| format!("{s}, ")).collect();
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let prefix = MAGIC.len() + 4;
    let length = (prefix + text.len() + 1).next_multiple_of(ALIGNMENT) - prefix;
    text.extend(std::iter::repeat_n(' ', length - 1 - text.len()));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(u16::try_from(length).ok()?.to_le_bytes());
    bytes.extend(text.as_bytes());
    Some(bytes)
}

/// A cursor over the header's text. Every step moves forward, and nothing nests.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    origin: &'a Origin,
}

impl<'a> Parser<'a> {
    fn header(&mut self, data_start: u64) -> Result<Header, Diagnostic> {
        let (mut stored, mut order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.eat(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            let twice = match key {
                "descr" => stored.replace(self.descr()?).is_some(),
                "fortran_order" => order.replace(self.order()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err(self.malformed(format!("the unknown key `{}`", Excerpt(key)))),
            };
            if twice {
                return Err(self.malformed(format!("the key `{key}` twice")));
            }
            if !self.eat(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.malformed("text after its dict"));
        }
        let missing = |key: &str| self.malformed(format!("no key `{key}`"));
        Ok(Header {
            stored: stored.ok_or_else(|| missing("descr"))?,
            order: order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            data_start,
        })
    }

    fn descr(&mut self) -> Result<Stored, Diagnostic> {
        self.skip_space();
        if self.text.get(self.at) == Some(&b'[') {
            return Err(self.origin.fault(Code::InputType, "holds structured elements, which feed no parameter"));
        }
        let descr = self.string()?;
        stored_type(descr).map_err(|(what, help)| {
            self.origin.fault(Code::InputType, format_args!("holds {what} (`{}`)", Excerpt(descr))).help(help)
        })
    }

    fn order(&mut self) -> Result<Order, Diagnostic> {
        match self.word() {
            b"False" => Ok(Order::C),
            b"True" => Ok(Order::Fortran),
            _ => Err(self.malformed("a `fortran_order` that is neither True nor False")),
        }
    }

    fn shape(&mut self) -> Result<Vec<usize>, Diagnostic> {
        let mut shape = Vec::new();
        self.expect(b'(')?;
        while !self.eat(b')') {
            if shape.len() == MAX_RANK {
                return Err(self.malformed(format!("more than {MAX_RANK} dimensions")));
            }
            if self.eat(b'-') {
                return Err(self.malformed("a negative dimension"));
            }
            let digits = self.word();
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(self.malformed("a dimension that is not a decimal number"));
            }
            let size = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
            shape.push(size.ok_or_else(|| self.origin.fault(Code::TooLarge, "states a dimension beyond 2^64"))?);
            if !self.eat(b',') {
                // `(3)` is a number in Python, not a tuple.
                if shape.len() == 1 {
                    return Err(self.malformed("a `shape` that is not a tuple"));
                }
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    /// A string without escapes, which no key or element type needs.
    fn string(&mut self) -> Result<&'a str, Diagnostic> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let quote = rest.first().copied().filter(|q| matches!(q, b'\'' | b'"'));
        let body = quote.and_then(|q| rest[1..].split(|b| *b == q).next());
        match body.map(std::str::from_utf8) {
            Some(Ok(body)) if body.len() + 2 <= rest.len() && !body.contains('\\') => {
                self.at += body.len() + 2;
                Ok(body)
            }
            _ => Err(self.malformed(format!("no plain string at byte {} of its text", self.at))),
        }
    }

    /// A name or number: letters, digits, underscores and points.
    fn word(&mut self) -> &'a [u8] {
        self.skip_space();
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(**b, b'_' | b'.')).count();
        self.at += length;
        &rest[..length]
    }

    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Diagnostic> {
        if self.eat(wanted) {
            return Ok(());
        }
        Err(self.malformed(format!("no `{}` at byte {} of its text", wanted as char, self.at)))
    }

    fn skip_space(&mut self) {
        self.at += self.text[self.at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    }

    fn malformed(&self, what: impl std::fmt::Display) -> Diagnostic {
        self.origin.fault(Code::FileMalformed, format_args!("has a malformed npy header: {what}"))
    }
}

/// The stored type of an npy type string, or what it is instead and what to do about it.
fn stored_type(descr: &str) -> Result<Stored, (&'static str, &'static str)> {
    let Some((order, kind)) = descr.split_at_checked(1) else {
        return Err(("elements without a type", "save numbers or codes"));
    };
    let stored = match kind {
        "f8" => Stored::F64,
        "f4" => Stored::F32,
        "f2" => Stored::F16,
        "V2" => Stored::Void16,
        "i8" => Stored::I64,
        "i4" => Stored::I32,
        "i2" => Stored::I16,
        "i1" => Stored::I8,
        "u8" => Stored::U64,
        "u4" => Stored::U32,
        "u2" => Stored::U16,
        "u1" => Stored::U8,
        "b1" => Stored::Bool,
        "V1" | "f1" => {
            return Err(("opaque bytes", "save small floats as uint8 codes: `a.view(np.uint8)`; int4 as int8"));
        }
        "O" => return Err(("pickled objects", "save an array of numbers: pickles are never loaded")),
        _ => return Err(("elements of a type that feeds no parameter", "save it as float32, int8 or uint8")),
    };
    match order {
        "<" => Ok(stored),
        "|" | ">" if stored.bits() == 8 => Ok(stored),
        "|" if stored == Stored::Void16 => Ok(stored),
        ">" => Err(("big-endian elements", "save it little-endian: `a.astype(a.dtype.newbyteorder('<'))`")),
        _ => Err(("elements of unknown byte order", "save it little-endian")),
    }
}

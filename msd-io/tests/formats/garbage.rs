//! No file makes a reader panic; what it accepts has the size of its file.

use msd_io::npy::{self, Halves};
use msd_io::{convert, safetensors};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;
use proptest::prelude::*;

use crate::round_trip::tensors;
use crate::{Scratch, npy_bytes, safetensors_bytes};

/// Reads `bytes` as both formats and converts what results to every type.
fn read_everything(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.file("x", bytes);
    for declared in DType::ALL {
        if let Ok(raw) = npy::read(&path) {
            check(raw, *declared, bytes.len());
        }
        let Ok(mut file) = safetensors::open(&path) else { continue };
        for name in file.names() {
            if let Ok(raw) = file.read(&name) {
                check(raw, *declared, bytes.len());
            }
        }
    }
}

fn check(raw: msd_io::RawTensor, declared: DType, file_size: usize) {
    let mut expected: Vec<Option<usize>> = raw.shape().iter().map(|s| Some(*s)).collect();
    if declared.bits() == 4
        && let Some(Some(last)) = expected.last_mut()
    {
        *last = last.saturating_mul(2);
    }
    if let Ok(tensor) = convert(raw, declared, &expected) {
        assert!(tensor.len() <= 2 * file_size, "{} elements from {file_size} bytes", tensor.len());
    }
}

fn file_of(tensor: &Tensor, is_npy: bool) -> Vec<u8> {
    let scratch = Scratch::new();
    let path = scratch.path("t");
    if is_npy {
        npy::write(&path, tensor, Halves::AsStored).unwrap();
    } else {
        safetensors::write(&path, &[("weight", tensor), ("bias", tensor)]).unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// Pieces of headers, so that garbage gets past the first characters.
fn header_soup() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "'",
        "\"",
        " ",
        "-",
        "\\",
        "0",
        "2",
        "18446744073709551615",
        "True",
        "False",
        "'descr'",
        "'fortran_order'",
        "'shape'",
        "'<f4'",
        "'|u1'",
        "{'descr': '|u1', 'fortran_order': True, 'shape': (",
        "\"t\"",
        "\"dtype\"",
        "\"shape\"",
        "\"data_offsets\"",
        "\"U8\"",
        "\"__metadata__\"",
        "\u{0}",
        "é",
        "{\"t\":{\"dtype\":\"F4\",\"shape\":[",
        "],\"data_offsets\":[0,",
    ];
    prop::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
        let mut with_magic = b"\x93NUMPY\x01\x00".to_vec();
        with_magic.extend(&bytes);
        read_everything(&with_magic);
    }

    #[test]
    fn any_header_text(header in header_soup(), data in prop::collection::vec(any::<u8>(), 0..20)) {
        read_everything(&npy_bytes(&header, &data));
        read_everything(&safetensors_bytes(&header, &data));
    }

    #[test]
    fn damaged_files(
        tensor in tensors(),
        is_npy: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file_of(&tensor, is_npy);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(&bytes);
    }

    /// Every strict prefix of a file is refused.
    #[test]
    fn truncated_files(tensor in tensors(), is_npy: bool, cut in any::<prop::sample::Index>()) {
        let scratch = Scratch::new();
        let bytes = file_of(&tensor, is_npy);
        let path = scratch.file("x", &bytes[..cut.index(bytes.len())]);
        if is_npy {
            prop_assert!(npy::read(&path).is_err());
        } else {
            prop_assert!(safetensors::open(&path).is_err());
        }
    }
}

//! Headers of npy files, well and badly formed.

use msd_io::{Order, Stored, npy};
use msd_ir::diag::Code;

use crate::{Scratch, npy_array, npy_bytes, read_npy, refused};

#[test]
fn reads_what_numpy_writes() {
    // `np.save(f, np.float32(3))` and `np.save(f, np.asfortranarray(np.zeros((2, 3), 'i1')))`.
    let mut scalar = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (), }".to_vec();
    scalar.resize(127, b' ');
    scalar.push(b'\n');
    scalar.extend(3f32.to_le_bytes());
    let raw = read_npy(&scalar).unwrap();
    assert_eq!((raw.stored(), raw.shape(), raw.order()), (Stored::F32, &[][..], Order::C));

    let raw = read_npy(&npy_array("|i1", true, "(2, 3)", &[0; 6])).unwrap();
    assert_eq!((raw.stored(), raw.shape(), raw.order()), (Stored::I8, &[2, 3][..], Order::Fortran));
}

#[test]
fn accepts_every_spelling_of_a_header() {
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}",
        "  { 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , ) }  \n",
    ] {
        let raw = read_npy(&npy_bytes(header, &[0; 8])).unwrap();
        assert_eq!((raw.stored(), raw.shape()), (Stored::F32, &[2][..]), "{header}");
    }
}

#[test]
fn reads_versions_2_and_3() {
    let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}";
    for version in [2, 3] {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header);
        bytes.push(7);
        assert_eq!(read_npy(&bytes).unwrap().shape(), [1]);
    }
}

#[test]
fn zero_sizes_are_legal() {
    let raw = read_npy(&npy_array("<f4", false, "(3, 0)", &[])).unwrap();
    assert_eq!(raw.shape(), [3, 0]);
}

#[test]
fn refuses_malformed_headers() {
    let dict = |entries: &str| npy_bytes(&format!("{{{entries}}}"), &[0; 8]);
    let cases: &[(&str, Vec<u8>)] = &[
        ("start with", Vec::new()),
        ("start with", b"\x93NUM".to_vec()),
        ("start with", b"\x93NUMPX\x01\x00\x00\x00".to_vec()),
        ("ends inside", b"\x93NUMPY".to_vec()),
        ("ends inside", b"\x93NUMPY\x01\x00\x10".to_vec()),
        ("ends inside", b"\x93NUMPY\x01\x00\x10\x00{'descr'".to_vec()),
        ("version", b"\x93NUMPY\x04\x00\x00\x00\x00\x00".to_vec()),
        ("4294967295", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec()),
        ("`{`", npy_bytes("", &[])),
        ("`{`", npy_bytes("[1, 2]", &[])),
        ("key `shape` twice", dict("'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (2,)")),
        ("key `descr` twice", dict("'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)")),
        ("unknown key `x`", dict("'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1")),
        ("no key `shape`", dict("'descr': '<f4', 'fortran_order': False")),
        ("no key `descr`", dict("'fortran_order': False, 'shape': (2,)")),
        ("no key `fortran_order`", dict("'descr': '<f4', 'shape': (2,)")),
        ("negative", dict("'descr': '<f4', 'fortran_order': False, 'shape': (-2,)")),
        ("decimal", dict("'descr': '<f4', 'fortran_order': False, 'shape': (2.0,)")),
        ("decimal", dict("'descr': '<f4', 'fortran_order': False, 'shape': (,)")),
        ("decimal", dict("'descr': '<f4', 'fortran_order': False, 'shape': ((2,),)")),
        ("not a tuple", dict("'descr': '<f4', 'fortran_order': False, 'shape': (2)")),
        ("`(`", dict("'descr': '<f4', 'fortran_order': False, 'shape': 2")),
        ("neither", dict("'descr': '<f4', 'fortran_order': 0, 'shape': (2,)")),
        ("plain string", dict("'descr': '<f4")),
        ("plain string", dict("descr: '<f4'")),
        ("plain string", dict("'descr': '<\\x664', 'fortran_order': False, 'shape': (2,)")),
        ("text after", npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} {", &[0; 8])),
        ("64 dimensions", dict(&format!("'descr': '<f4', 'fortran_order': False, 'shape': ({})", "1,".repeat(65)))),
    ];
    for (names, bytes) in cases {
        refused(read_npy(bytes), Code::FileMalformed, names);
        refused(read_npy(bytes), Code::FileMalformed, "a.npy");
    }
}

#[test]
fn refuses_data_of_another_length() {
    refused(read_npy(&npy_array("<f4", false, "(2, 3)", &[0; 23])), Code::FileMalformed, "24 bytes");
    refused(read_npy(&npy_array("<f4", false, "(2, 3)", &[0; 25])), Code::FileMalformed, "too long");
    refused(read_npy(&npy_array("<f4", false, "(1000000000000,)", &[0; 8])), Code::FileMalformed, "truncated");
}

#[test]
fn refuses_sizes_that_overflow() {
    for shape in [
        "(4294967296, 4294967296)",
        "(18446744073709551615,)",
        "(4611686018427387904,)",
        "(4294967296, 4294967296, 0)",
        "(18446744073709551616,)",
        "(99999999999999999999999999999999999,)",
    ] {
        refused(read_npy(&npy_array("<f4", false, shape, &[0; 8])), Code::TooLarge, "a.npy");
    }
}

#[test]
fn refuses_types_that_feed_nothing() {
    for (descr, names) in [
        (">f4", "big-endian"),
        (">i4", "big-endian"),
        ("|O", "pickle"),
        ("<c8", "`<c8`"),
        ("<U4", "`<U4`"),
        ("|S1", "`|S1`"),
        ("<V1", "uint8 codes"),
        ("<f1", "uint8 codes"),
        ("|f4", "byte order"),
        ("=f4", "byte order"),
        ("", "type"),
        ("<", "type"),
    ] {
        refused(read_npy(&npy_array(descr, false, "(2,)", &[0; 8])), Code::InputType, names);
    }
    let structured = "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,)}";
    refused(read_npy(&npy_bytes(structured, &[0; 8])), Code::InputType, "structured");
}

#[test]
fn messages_hold_no_control_characters() {
    let header = "{'\u{1b}[31m': 1}";
    let fault = read_npy(&npy_bytes(header, &[])).unwrap_err();
    assert!(!fault.to_string().contains('\u{1b}'), "{fault}");
    let fault = read_npy(&npy_bytes(&format!("{{'{}': 1}}", "k".repeat(5000)), &[])).unwrap_err();
    assert!(fault.message.len() < 600, "{fault}");
}

#[test]
fn refuses_what_is_not_a_file() {
    let scratch = Scratch::new();
    refused(npy::read(scratch.path("absent.npy")), Code::FileUnreadable, "absent.npy");
    refused(npy::read(scratch.0.path()), Code::FileUnreadable, "regular file");
    #[cfg(unix)]
    refused(npy::read("/dev/null"), Code::FileUnreadable, "regular file");
}

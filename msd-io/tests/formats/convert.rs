//! What stored elements mean under each declared type.

use msd_io::{RawTensor, convert};
use msd_ir::diag::Code;
use msd_ir::dtype::DType;
use msd_ir::tensor::Data;

use crate::{convert_as_is, f32_bytes, npy_array, read_npy, read_safetensors, refused};

fn npy(descr: &str, shape: &str, data: &[u8]) -> RawTensor {
    read_npy(&npy_array(descr, false, shape, data)).unwrap()
}

/// Every declared type with every npy type string and safetensors type that feeds it.
const FEEDS: &[(DType, &[&str], &[&str])] = &[
    (DType::F32, &["<f4", "<f2"], &["F32", "F16", "BF16"]),
    (DType::F16, &["<f4", "<f2"], &["F32", "F16", "BF16"]),
    (DType::BF16, &["<f4", "<f2", "<V2"], &["F32", "F16", "BF16"]),
    (DType::I32, &["<i4"], &["I32"]),
    (DType::I8, &["|i1"], &["I8"]),
    (DType::U8, &["|u1"], &["U8"]),
    (DType::I4, &["|i1"], &["I8"]),
    (DType::U4, &["|u1"], &["U8"]),
    (DType::Bool, &["|b1", "|u1"], &["BOOL", "U8"]),
    (DType::E4M3, &["|u1"], &["U8", "F8_E4M3"]),
    (DType::E5M2, &["|u1"], &["U8", "F8_E5M2"]),
    (DType::E2M1, &["|u1"], &["U8", "F4"]),
    (DType::E1M2, &["|u1"], &["U8"]),
    (DType::E8M0, &["|u1"], &["U8", "F8_E8M0"]),
    (DType::I16, &[], &[]),
    (DType::I64, &[], &[]),
    (DType::F64, &[], &[]),
];

#[test]
fn each_type_is_fed_by_its_sources_and_no_other() {
    let npy_types = [
        ("<f8", 8, "float64"),
        ("<f4", 4, "float32"),
        ("<f2", 2, "float16"),
        ("<V2", 2, "void16"),
        ("<i8", 8, "int64"),
        ("<i4", 4, "int32"),
        ("<i2", 2, "int16"),
        ("|i1", 1, "int8"),
        ("<u8", 8, "uint64"),
        ("<u4", 4, "uint32"),
        ("<u2", 2, "uint16"),
        ("|u1", 1, "uint8"),
        ("|b1", 1, "bool"),
    ];
    let safetensors_types = [
        ("F64", 64, "float64"),
        ("F32", 32, "float32"),
        ("F16", 16, "float16"),
        ("BF16", 16, "bfloat16"),
        ("I64", 64, "int64"),
        ("I32", 32, "int32"),
        ("I16", 16, "int16"),
        ("I8", 8, "int8"),
        ("U8", 8, "uint8"),
        ("BOOL", 8, "bool"),
        ("F8_E4M3", 8, "float8_e4m3"),
        ("F8_E5M2", 8, "float8_e5m2"),
        ("F8_E8M0", 8, "float8_e8m0"),
        ("F4", 4, "float4_e2m1"),
    ];
    assert_eq!(FEEDS.len(), DType::ALL.len());
    for (declared, npy_sources, safetensors_sources) in FEEDS {
        let check = |raw: RawTensor, feeds: bool, name: &str| {
            let result = convert_as_is(raw, *declared);
            if feeds {
                assert_eq!(result.unwrap().dtype(), *declared, "{name} feeds {declared:?}");
            } else {
                let names = format!("holds {name} elements, which cannot feed `{}`", declared.name());
                refused(result, Code::InputType, &names);
            }
        };
        for (descr, bytes, name) in npy_types {
            check(npy(descr, "(2,)", &vec![0; 2 * bytes]), npy_sources.contains(&descr), name);
        }
        for (dtype, bits, name) in safetensors_types {
            let raw = read_safetensors(dtype, "[2]", &vec![0; 2 * bits / 8]).unwrap();
            check(raw, safetensors_sources.contains(&dtype), name);
        }
    }
}

#[test]
fn float32_rounds_to_nearest_even() {
    // Halfway cases of BF16 (8 significant bits) on both sides of an even neighbour, and overflow.
    let half = 1.0 / 256.0;
    let values = [1.0, 1.0 + half, 1.0 + 3.0 * half, -1.0 - half, f32::MAX, f32::INFINITY, 1e-45];
    let halves = convert_as_is(npy("<f4", "(7,)", &f32_bytes(&values)), DType::BF16).unwrap();
    assert_eq!(halves.data(), &Data::U16(vec![0x3F80, 0x3F80, 0x3F82, 0xBF80, 0x7F80, 0x7F80, 0]));

    // Halfway cases of F16 (11 significant bits), its overflow at 65520, its smallest subnormal.
    let half = 1.0 / 2048.0;
    let values = [1.0 + half, 1.0 + 3.0 * half, 65519.0, 65520.0, 5.9604645e-8, f32::NAN];
    let halves = convert_as_is(npy("<f4", "(6,)", &f32_bytes(&values)), DType::F16).unwrap();
    assert_eq!(halves.data(), &Data::U16(vec![0x3C00, 0x3C02, 0x7BFF, 0x7C00, 1, 0x7E00]));
}

#[test]
fn halves_widen_exactly() {
    let bf16 = read_safetensors("BF16", "[3]", &[0x80, 0x3F, 0x01, 0x00, 0x80, 0xFF]).unwrap();
    let expected = vec![1.0, f32::from_bits(0x10000), f32::NEG_INFINITY];
    assert_eq!(convert_as_is(bf16, DType::F32).unwrap().data(), &Data::F32(expected));
    let f16 = npy("<f2", "(2,)", &[0x01, 0x00, 0xFF, 0x7B]);
    assert_eq!(convert_as_is(f16, DType::F32).unwrap().data(), &Data::F32(vec![5.9604645e-8, 65504.0]));
    let opaque = npy("<V2", "(1,)", &[0x80, 0x3F]);
    assert_eq!(convert_as_is(opaque, DType::BF16).unwrap().data(), &Data::U16(vec![0x3F80]));
}

#[test]
fn bits_of_the_declared_type_are_kept() {
    let quiet_with_payload = f32::from_bits(0xFFC0_1234);
    let kept = convert_as_is(npy("<f4", "(1,)", &f32_bytes(&[quiet_with_payload])), DType::F32).unwrap();
    assert!(matches!(kept.data(), Data::F32(v) if v[0].to_bits() == 0xFFC0_1234));
    let kept = convert_as_is(read_safetensors("BF16", "[1]", &[0x34, 0xFF]).unwrap(), DType::BF16).unwrap();
    assert_eq!(kept.data(), &Data::U16(vec![0xFF34]));
}

#[test]
fn fortran_order_is_transposed() {
    // a[i, j, k] = 100 i + 10 j + k of shape [2, 3, 2], first axis fastest.
    let mut values = Vec::new();
    for k in 0..2 {
        for j in 0..3 {
            for i in 0..2 {
                values.push((100 * i + 10 * j + k) as f32);
            }
        }
    }
    let raw = read_npy(&npy_array("<f4", true, "(2, 3, 2)", &f32_bytes(&values))).unwrap();
    let tensor = convert(raw, DType::F32, &[Some(2), Some(3), Some(2)]).unwrap();
    let expected = [0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121].map(|v| v as f32);
    assert_eq!(tensor.data(), &Data::F32(expected.to_vec()));

    for shape in ["()", "(1,)", "(1, 1)"] {
        let raw = read_npy(&npy_array("<i4", true, shape, &7i32.to_le_bytes())).unwrap();
        assert_eq!(convert_as_is(raw, DType::I32).unwrap().data(), &Data::I32(vec![7]));
    }
    let raw = read_npy(&npy_array("<i4", true, "(3, 0, 2)", &[])).unwrap();
    assert_eq!(convert_as_is(raw, DType::I32).unwrap().shape(), [3, 0, 2]);
}

#[test]
fn four_bit_types_take_one_value_per_byte() {
    let i4 = convert_as_is(npy("|i1", "(3,)", &[0xF8, 7, 0]), DType::I4).unwrap();
    assert_eq!(i4.data(), &Data::I8(vec![-8, 7, 0]));
    for declared in [DType::U4, DType::E2M1, DType::E1M2] {
        let codes = convert_as_is(npy("|u1", "(2,)", &[0, 15]), declared).unwrap();
        assert_eq!(codes.data(), &Data::U8(vec![0, 15]));
        refused(convert_as_is(npy("|u1", "(2, 2)", &[0, 1, 16, 3]), declared), Code::CodeOutOfRange, "16 at [1, 0]");
    }
    refused(convert_as_is(npy("|i1", "(2,)", &[0, 8]), DType::I4), Code::CodeOutOfRange, "8 at [1]");
    refused(convert_as_is(npy("|i1", "(2,)", &[0xF7, 0]), DType::I4), Code::CodeOutOfRange, "-9 at [0]");
}

#[test]
fn four_bit_types_unpack_only_where_the_size_says_so() {
    let bytes = [0x21, 0x43, 0xF8, 0x70];
    let packed = |descr: &str| npy(descr, "(2, 2)", &bytes);
    for declared in [DType::U4, DType::E2M1, DType::E1M2] {
        let codes = convert(packed("|u1"), declared, &[None, Some(4)]).unwrap();
        assert_eq!(codes.shape(), [2, 4]);
        assert_eq!(codes.data(), &Data::U8(vec![1, 2, 3, 4, 8, 15, 0, 7]));
        // No size known: one per byte, and these bytes are no codes.
        refused(convert(packed("|u1"), declared, &[None, None]), Code::CodeOutOfRange, "33 at [0, 0]");
        // Signed bytes are no codes.
        refused(convert(packed("|i1"), declared, &[None, Some(2)]), Code::InputType, "int8");
    }
    for descr in ["|u1", "|i1"] {
        let values = convert(packed(descr), DType::I4, &[Some(2), Some(4)]).unwrap();
        assert_eq!(values.data(), &Data::I8(vec![1, 2, 3, 4, -8, -1, 0, 7]));
    }
    // Half in another axis, half of an odd size, a quarter; and 8-bit types never unpack.
    refused(convert(packed("|u1"), DType::U4, &[Some(4), Some(2)]), Code::InputShape, "[4, 2]");
    refused(convert(packed("|u1"), DType::U4, &[Some(2), Some(5)]), Code::InputShape, "[2, 5]");
    refused(convert(packed("|u1"), DType::U4, &[Some(2), Some(8)]), Code::InputShape, "8 with a 4-bit code per byte");
    refused(convert(packed("|u1"), DType::U8, &[Some(2), Some(4)]), Code::InputShape, "[2, 2]");
    refused(convert(packed("|u1"), DType::E4M3, &[Some(2), Some(4)]), Code::InputShape, "[2, 2]");
    // A last axis of known size 2 that is 2 long holds one code per byte.
    refused(convert(packed("|u1"), DType::U4, &[Some(2), Some(2)]), Code::CodeOutOfRange, "[0, 0]");
}

#[test]
fn packed_fortran_order_is_transposed_by_bytes() {
    let raw = read_npy(&npy_array("|u1", true, "(2, 2)", &[0x21, 0x65, 0x43, 0x87])).unwrap();
    let codes = convert(raw, DType::U4, &[Some(2), Some(4)]).unwrap();
    assert_eq!(codes.data(), &Data::U8((1..=8).collect()));
}

#[test]
fn float4_has_its_shape_in_elements() {
    let raw = read_safetensors("F4", "[2,3]", &[0x21, 0x43, 0xF5]).unwrap();
    let codes = convert(raw, DType::E2M1, &[Some(2), Some(3)]).unwrap();
    assert_eq!(codes.data(), &Data::U8(vec![1, 2, 3, 4, 5, 15]));
}

#[test]
fn truth_values_are_0_and_1() {
    for descr in ["|b1", "|u1"] {
        let truth = convert_as_is(npy(descr, "(2,)", &[0, 1]), DType::Bool).unwrap();
        assert_eq!(truth.data(), &Data::U8(vec![0, 1]));
        refused(convert_as_is(npy(descr, "(2,)", &[0, 2]), DType::Bool), Code::CodeOutOfRange, "2 at [1]");
    }
}

#[test]
fn e8m0_has_no_nan() {
    let scale = convert_as_is(npy("|u1", "(3,)", &[0, 127, 254]), DType::E8M0).unwrap();
    assert_eq!(scale.to_f32()[1], 1.0);
    refused(convert_as_is(npy("|u1", "(2,)", &[127, 255]), DType::E8M0), Code::ScaleNotFinite, "at [1]");
    let raw = read_safetensors("F8_E8M0", "[1]", &[255]).unwrap();
    refused(convert_as_is(raw, DType::E8M0), Code::ScaleNotFinite, "tensor `t`");
}

#[test]
fn shapes_must_be_the_expected_ones() {
    let raw = || npy("<f4", "(2, 3)", &[0; 24]);
    assert_eq!(convert(raw(), DType::F32, &[Some(2), None]).unwrap().shape(), [2, 3]);
    refused(convert(raw(), DType::F32, &[Some(3), None]), Code::InputShape, "has shape [2, 3], but [3, _]");
    refused(convert(raw(), DType::F32, &[Some(6)]), Code::InputShape, "a.npy");
    refused(convert(raw(), DType::F32, &[]), Code::InputShape, "[]");
    refused(convert(raw(), DType::F32, &[Some(2), Some(3), Some(1)]), Code::InputShape, "[2, 3, 1]");
}

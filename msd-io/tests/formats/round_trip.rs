//! What is written is read back, for every type, shape and order.

use msd_io::npy::{self, Halves};
use msd_io::{RawTensor, convert, safetensors};
use msd_ir::dtype::DType;
use msd_ir::tensor::{Data, Tensor};
use proptest::prelude::*;

use crate::{Scratch, npy_array, read_npy};

/// Any tensor of a declarable type: up to 4 axes of up to 4, and any bits the type has.
pub(crate) fn tensors() -> impl Strategy<Value = Tensor> {
    let declarable: Vec<DType> = DType::ALL.iter().copied().filter(|d| d.is_declarable()).collect();
    (proptest::sample::select(declarable), prop::collection::vec(0usize..=4, 0..=4)).prop_flat_map(|(dtype, shape)| {
        let count = shape.iter().product::<usize>();
        prop::collection::vec(any::<u32>(), count).prop_map(move |bits| tensor(dtype, shape.clone(), &bits))
    })
}

fn tensor(dtype: DType, shape: Vec<usize>, bits: &[u32]) -> Tensor {
    let codes = |count: u32| Data::U8(bits.iter().map(|b| (b % count) as u8).collect());
    let data = match dtype {
        // NaN is not equal to itself; its bits are tested elsewhere.
        DType::F32 => {
            Data::F32(bits.iter().map(|b| f32::from_bits(*b)).map(|x| if x.is_nan() { 0.5 } else { x }).collect())
        }
        DType::F16 | DType::BF16 => Data::U16(bits.iter().map(|b| *b as u16).collect()),
        DType::I32 => Data::I32(bits.iter().map(|b| *b as i32).collect()),
        DType::I8 => Data::I8(bits.iter().map(|b| *b as i8).collect()),
        DType::I4 => Data::I8(bits.iter().map(|b| (b % 16) as i8 - 8).collect()),
        DType::Bool => codes(2),
        DType::E8M0 => codes(255),
        d if d.bits() == 4 => codes(16),
        _ => codes(256),
    };
    Tensor::new(dtype, shape, data).unwrap()
}

fn back(raw: RawTensor, tensor: &Tensor) -> Tensor {
    let expected: Vec<Option<usize>> = tensor.shape().iter().map(|s| Some(*s)).collect();
    convert(raw, tensor.dtype(), &expected).unwrap()
}

/// `[2, 3]` as Python writes it.
fn tuple(shape: &[usize]) -> String {
    format!("({})", shape.iter().map(|s| format!("{s},")).collect::<String>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn npy_as_stored(tensor in tensors()) {
        let scratch = Scratch::new();
        let path = scratch.path("t.npy");
        npy::write(&path, &tensor, Halves::AsStored).unwrap();
        prop_assert_eq!(std::fs::read(&path).unwrap().len() % 64, tensor.len() * tensor.dtype().host_bytes() % 64);
        prop_assert_eq!(back(npy::read(&path).unwrap(), &tensor), tensor);
    }

    #[test]
    fn npy_widened(tensor in tensors()) {
        let scratch = Scratch::new();
        let path = scratch.path("t.npy");
        npy::write(&path, &tensor, Halves::default()).unwrap();
        let raw = npy::read(&path).unwrap();
        if matches!(tensor.dtype(), DType::F16 | DType::BF16) {
            prop_assert_eq!(raw.stored(), msd_io::Stored::F32);
            let values = |t: &Tensor| (0..t.len()).map(|i| t.value(i).to_bits()).collect::<Vec<_>>();
            let read = back(raw, &tensor);
            for (i, (a, b)) in values(&read).into_iter().zip(values(&tensor)).enumerate() {
                prop_assert!(a == b || tensor.value(i).is_nan() && read.value(i).is_nan());
            }
        } else {
            prop_assert_eq!(back(raw, &tensor), tensor);
        }
    }

    #[test]
    fn safetensors_of_several(tensors in prop::collection::vec(tensors(), 0..5)) {
        let scratch = Scratch::new();
        let path = scratch.path("t.safetensors");
        let names: Vec<String> = (0..tensors.len()).map(|i| format!("layer.{i} \"ü\"\n")).collect();
        let named: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(&tensors).collect();
        safetensors::write(&path, &named).unwrap();
        let mut file = safetensors::open(&path).unwrap();
        prop_assert_eq!(file.names(), names.clone());
        for (name, tensor) in named {
            prop_assert_eq!(&back(file.read(name).unwrap(), tensor), tensor);
        }
        // The crate's own reader takes what we write.
        let bytes = std::fs::read(&path).unwrap();
        prop_assert_eq!(::safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), tensors.len());
    }

    #[test]
    fn fortran_order(shape in prop::collection::vec(0usize..=4, 0..=4)) {
        // Element at index (i, j, ...) is its C-order position; written with the first axis fastest.
        let count: usize = shape.iter().product();
        let mut data = vec![0; 4 * count];
        for position in 0..count {
            let (mut rest, mut at, mut stride) = (position, 0, count);
            for size in shape.iter().rev() {
                stride /= size;
                at += rest % size * stride;
                rest /= size;
            }
            data[4 * at..4 * at + 4].copy_from_slice(&(position as i32).to_le_bytes());
        }
        let raw = read_npy(&npy_array("<i4", true, &tuple(&shape), &data)).unwrap();
        let expected = Tensor::new(DType::I32, shape, Data::I32((0..count as i32).collect())).unwrap();
        prop_assert_eq!(back(raw, &expected), expected);
    }
}

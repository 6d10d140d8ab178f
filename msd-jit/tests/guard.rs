//! Code reads and writes nothing past what callers gave it: their arrays end where a page begins that must
//! not be touched. Memory of our own ends like that in every debug build.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::ffi::{c_int, c_void};

use msd_ir::dim::Sizes;
use msd_ir::dtype::{DType, f32_to_bf16};
use msd_ir::eval::evaluate;
use msd_ir::input::Input;
use msd_ir::tensor::{Data, DataMut, DataRef, Tensor, TensorView, TensorViewMut};
use msd_jit::argument::Argument;
use msd_jit::isa::{Isa, Level};
use msd_jit::kernel::{Workspace, compile};
use msd_jit::pool::Pool;

const PAGE: usize = 4096;

// From the C library that std links already.
unsafe extern "C" {
    fn mmap(start: *mut c_void, length: usize, access: c_int, kind: c_int, file: c_int, at: i64) -> *mut c_void;
    fn mprotect(start: *mut c_void, length: usize, access: c_int) -> c_int;
    fn munmap(start: *mut c_void, length: usize) -> c_int;
}

/// Memory that ends at a page which must not be touched.
struct Guarded {
    start: *mut u8,
    length: usize,
}

impl Guarded {
    fn new(bytes: usize) -> Guarded {
        let length = bytes.next_multiple_of(PAGE) + PAGE;
        // SAFETY: a new mapping of its own, of which the last page becomes untouchable.
        let start = unsafe {
            let start = mmap(std::ptr::null_mut(), length, 3, 0x22, -1, 0);
            assert_ne!(start.addr(), usize::MAX);
            assert_eq!(mprotect(start.byte_add(length - PAGE), PAGE, 0), 0);
            start
        };
        Guarded { start: start.cast(), length }
    }

    /// The last elements before the guard.
    fn last<T: Copy>(&mut self, values: &[T]) -> &mut [T] {
        let bytes = size_of_val(values);
        assert!(bytes <= self.length - PAGE);
        // SAFETY: the elements lie in the mapping, whose end is a page border, so they are aligned; they are
        // written before they are given out, and borrowed with the mapping.
        unsafe {
            let first = self.start.add(self.length - PAGE - bytes).cast::<T>();
            first.copy_from_nonoverlapping(values.as_ptr(), values.len());
            std::slice::from_raw_parts_mut(first, values.len())
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping, which nothing borrows any more.
        unsafe { munmap(self.start.cast(), self.length) };
    }
}

/// Digits of BF16 rows, rows of bytes, whole and from within a unit on, and rows of floats, times plain tensors.
const TEXT: &str = r#"kernel f(
    x: bf16[M, K], bytes: i8[M, K], floats: f32[M, K], codes: i8[K, N], weights: f32[K, N], bias: f32[N],
) -> (f32[M, N], f32[M, N], f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(x, "int8x2-pow2");
    (msd.combine(msd.dot(d, codes), "int8x2-pow2") + bias, cast(msd.dot(bytes, codes), f32),
        cast(msd.dot(slice(bytes, 1, K/3, K), slice(codes, 0, K/3, K)), f32), floats @ weights)
}"#;

#[test]
fn arrays_of_callers_end_at_a_guard() {
    let kernel = msd_grammar::check(TEXT).unwrap().remove(0);
    let [bias, weights] = [11u32, 12].map(|seed| move |i: usize| ((i as u32 * 37 + seed) % 97) as f32 - 48.0);
    for (m, n, k) in [(1, 1, 3), (1, 17, 9), (2, 16, 15), (3, 33, 33), (5, 15, 63), (9, 49, 66), (4, 48, 4095)] {
        let sizes: Sizes = [("M", m), ("N", n), ("K", k)].map(|(d, s)| (d.into(), s as u64)).into();
        let x: Vec<u16> = (0..m * k).map(|i| f32_to_bf16((i % 251) as f32 - 125.0)).collect();
        let bytes: Vec<i8> = (0..m * k).map(|i| (i * 7 % 255) as u8 as i8).collect();
        let floats: Vec<f32> = (0..m * k).map(bias).collect();
        let codes: Vec<i8> = (0..k * n).map(|i| (i * 11 % 253) as u8 as i8).collect();
        let floats_w: Vec<f32> = (0..k * n).map(weights).collect();
        let bias: Vec<f32> = (0..n).map(bias).collect();

        let tensors = [
            Tensor::new(DType::BF16, vec![m, k], Data::U16(x.clone())),
            Tensor::new(DType::I8, vec![m, k], Data::I8(bytes.clone())),
            Tensor::new(DType::F32, vec![m, k], Data::F32(floats.clone())),
            Tensor::new(DType::I8, vec![k, n], Data::I8(codes.clone())),
            Tensor::new(DType::F32, vec![k, n], Data::F32(floats_w.clone())),
            Tensor::new(DType::F32, vec![n], Data::F32(bias.clone())),
        ];
        let inputs: Vec<Input> = tensors.into_iter().map(|t| Input::from(t.unwrap())).collect();
        let expected = evaluate(&kernel, &sizes, &inputs).unwrap();

        let mut memory: Vec<Guarded> = (0..6).map(|_| Guarded::new(4 * (m + n) * k.max(1) + 4 * n)).collect();
        let [a, b, c, d, e, f] = memory.each_mut_array();
        let (rows, columns, channels) = ([m, k], [k, n], [n]);
        let views = [
            TensorView::new(DType::BF16, &rows, DataRef::U16(a.last(&x))),
            TensorView::new(DType::I8, &rows, DataRef::I8(b.last(&bytes))),
            TensorView::new(DType::F32, &rows, DataRef::F32(c.last(&floats))),
            TensorView::new(DType::I8, &columns, DataRef::I8(d.last(&codes))),
            TensorView::new(DType::F32, &columns, DataRef::F32(e.last(&floats_w))),
            TensorView::new(DType::F32, &channels, DataRef::F32(f.last(&bias))),
        ];
        let arguments: Vec<Argument<'_>> = views.into_iter().map(|v| Argument::from(v.unwrap())).collect();
        for level in Level::ALL.iter().filter(|l| l.is_available()) {
            let code = compile(&kernel, &sizes, &Isa::host(*level).unwrap(), false).unwrap();
            let bound = code.bind(&arguments).unwrap();
            for threads in [1, 3] {
                let mut results: Vec<Guarded> = (0..4).map(|_| Guarded::new(4 * m * n)).collect();
                let shape = [m, n];
                let mut slices: Vec<&mut [f32]> = results.iter_mut().map(|r| r.last(&vec![f32::NAN; m * n])).collect();
                let mut outputs: Vec<TensorViewMut<'_>> = slices
                    .iter_mut()
                    .map(|s| TensorViewMut::new(DType::F32, &shape, DataMut::F32(s)).unwrap())
                    .collect();
                code.run(&bound, &arguments, &mut outputs, &mut Workspace::default(), &Pool::new(threads)).unwrap();
                for (index, (expected, actual)) in expected.iter().zip(&slices).enumerate() {
                    let bits: Vec<u32> = actual.iter().map(|v| v.to_bits()).collect();
                    let wanted: Vec<u32> = expected.to_f32().iter().map(|v| v.to_bits()).collect();
                    assert_eq!(bits, wanted, "result {index}, {}, {m}x{n}x{k}", level.name());
                }
            }
        }
    }
}

/// Six pieces of memory borrowed at once.
trait EachMut {
    fn each_mut_array(&mut self) -> [&mut Guarded; 6];
}

impl EachMut for Vec<Guarded> {
    fn each_mut_array(&mut self) -> [&mut Guarded; 6] {
        self.iter_mut().collect::<Vec<_>>().try_into().ok().unwrap()
    }
}

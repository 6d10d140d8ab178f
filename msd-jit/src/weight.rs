//! Weights that outlive calls: owned, checked when made, packed once for each layout that some
//! kernel reads, shared by any number of kernels and threads. Owns the packed forms; what a layout
//! is, is the schedule's business, and filling it `pack.rs`'s.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::input::{Input, InputView};
use msd_ir::quant::tensor::QuantTensor;
use msd_ir::tensor::Tensor;

use crate::isa::internal;
use crate::pack::{Aligned, Strided, bytes_of, pack};
use crate::pool::Pool;
use crate::schedule::{Layout, PartName};

/// Most packed forms of one weight. Kernels need one or two, and of scales and zero points in groups one each;
/// a kernel that slices its weight by a size of the call would ask for a new one each time.
const MAX_FORMS: usize = 16;

/// A weight: a quantized or plain tensor that many calls read.
///
/// The first kernel to multiply it packs it into the layout its code reads; the packed form stays
/// with the weight, so that no later call, of whatever kernel or thread, packs it again. Memory is
/// the tensor as given and one packed form of about the size of its codes (INT8; F32 weights of
/// plain products likewise), two where kernels of different lowerings share a weight. Share one
/// between threads behind a reference or an [`Arc`].
pub struct Weight {
    input: Arc<Input>,
    forms: RwLock<Vec<Form>>,
}

/// One of its tensors in one layout, as seen through one window.
struct Form {
    part: PartName,
    layout: Layout,
    source: Strided,
    bytes: Aligned,
}

impl Weight {
    /// Bytes of the packed forms so far.
    pub fn packed_bytes(&self) -> usize {
        self.forms.read().unwrap_or_else(PoisonError::into_inner).iter().map(|f| f.bytes.len()).sum()
    }

    /// Another weight of the same values, its packed forms at another place; the tensors as given
    /// are shared.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn duplicate(&self) -> Result<Weight, Diagnostic> {
        let forms = self.forms.read().unwrap_or_else(PoisonError::into_inner);
        let forms = forms.iter().map(|f| {
            Ok(Form { part: f.part, layout: f.layout.clone(), source: f.source.clone(), bytes: f.bytes.duplicate()? })
        });
        let forms = forms.collect::<Result<Vec<_>, Diagnostic>>()?;
        Ok(Weight { input: self.input.clone(), forms: RwLock::new(forms) })
    }

    /// Another weight of the same values, all of it at another place.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn duplicate_whole(&self) -> Result<Weight, Diagnostic> {
        Ok(Weight { input: Arc::new(Input::clone(&self.input)), ..self.duplicate()? })
    }

    /// The tensor as given, or codes with scale and zero point.
    pub fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn view(&self) -> InputView<'_> {
        InputView::from(&*self.input)
    }

    /// Address of a part in that layout, packed by the threads of `pool` if nobody has; `None` if too many
    /// forms are kept already. The bytes stay where they are for as long as the weight lives.
    pub(crate) fn packed(
        &self,
        part: PartName,
        layout: &Layout,
        source: &Strided,
        pool: &Pool,
    ) -> Result<Option<*const u8>, Diagnostic> {
        let find = |forms: &[Form]| {
            let form = forms.iter().find(|f| f.part == part && f.layout == *layout && f.source == *source);
            form.map(|f| f.bytes.as_ptr())
        };
        let known = find(&self.forms.read().unwrap_or_else(PoisonError::into_inner));
        if known.is_some() {
            return Ok(known);
        }
        // Who comes second waits for the first to pack, rather than packing the same again.
        let mut forms = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&forms) {
            return Ok(Some(known));
        }
        if forms.len() == MAX_FORMS {
            return Ok(None);
        }
        let InputView { tensor, scale, zero } = self.view();
        let tensor = [Some(tensor), scale, zero][part as usize];
        let tensor = tensor.ok_or_else(|| internal("a part that the weight lacks"))?;
        let bytes = pack(bytes_of(tensor.data()), tensor.dtype(), source, layout, pool)?;
        let address = bytes.as_ptr();
        forms.push(Form { part, layout: layout.clone(), source: source.clone(), bytes });
        Ok(Some(address))
    }
}

impl From<QuantTensor> for Weight {
    fn from(quant: QuantTensor) -> Weight {
        Weight { input: Arc::new(Input::from(quant)), forms: RwLock::default() }
    }
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Weight {
        Weight { input: Arc::new(Input::from(tensor)), forms: RwLock::default() }
    }
}

impl TryFrom<Input> for Weight {
    type Error = Diagnostic;

    /// # Errors
    /// If the parts of a quantized input do not go together (see [`QuantTensor::new`]).
    fn try_from(input: Input) -> Result<Weight, Diagnostic> {
        match (input.scale, input.zero) {
            (Some(scale), zero) => Ok(QuantTensor::new(input.tensor, scale, zero)?.into()),
            (None, None) => Ok(input.tensor.into()),
            (None, Some(_)) => Err(Diagnostic::new(Code::MissingInput, "a zero point without a scale")
                .help("a quantized tensor has a scale")),
        }
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = &self.input.tensor;
        let (dtype, shape) = (tensor.dtype().name(), tensor.shape());
        f.debug_struct("Weight")
            .field("dtype", &dtype)
            .field("shape", &shape)
            .field("packed_bytes", &self.packed_bytes())
            .finish()
    }
}

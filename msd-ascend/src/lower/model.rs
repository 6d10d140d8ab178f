//! The closed form beside the interpreter: what a stream would cost by formulas alone. Owns how the costs of stages add
//! up; those of products are `estimate.rs`'s, those of vector stages `vector.rs`'s.

use super::blocking::{Blocking, Right, Sizes};
use super::estimate::Estimate;
use super::product::ProductStage;
use super::view::View;
use crate::chip::Chip;
use crate::engine::gm::Traffic;
use crate::isa::region::bytes;
use crate::program::{Purpose, Tensor};

/// Predicted cycles and bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// On the device, its start included.
    pub cycles: f64,
    /// Every transfer between GM and the cores, each byte of HBM once.
    pub traffic: Traffic,
}

/// What has been added up so far.
pub(crate) struct Ledger {
    model: Model,
    /// Tensors that are in HBM until they are read.
    given: Vec<u16>,
}

impl Ledger {
    /// A program starts, and is given these tensors.
    pub(crate) fn new(given: Vec<u16>, chip: &Chip) -> Ledger {
        Ledger { model: Model { cycles: chip.kernel_start() as f64, ..Model::default() }, given }
    }

    /// A product. What vector cores did before it is part of its estimate, as far as it has to be waited for.
    pub(crate) fn product(
        &mut self,
        stage: &ProductStage,
        (sizes, blocking, estimate): (&Sizes, &Blocking, &Estimate),
        is_result: bool,
        (tensors, chip): (&[Tensor], &Chip),
    ) {
        self.model.cycles += estimate.cycles();
        let (tiles_m, tiles_n) = blocking.tiles(sizes);
        let left_reads = if blocking.is_resident { blocking.busy_cores(sizes) } else { tiles_n };
        for (index, term) in stage.terms.iter().enumerate() {
            // What does not stay in L1 comes again for each term.
            if index == 0 || !blocking.is_resident {
                self.reads(&term.a, left_reads);
            }
            if sizes.right != Right::MadeInL1 {
                self.reads(&term.b, tiles_m);
            }
        }
        let (out, early) = blocking.driven_out(sizes, chip);
        let made = sizes.made(sizes.cols);
        let traffic = &mut self.model.traffic;
        let again = ((early * made) as u64).min(traffic.l2_read);
        traffic.hbm_write += (out * made) as u64;
        traffic.hbm_read += again;
        traffic.l2_read -= again;
        if !is_result {
            let sums = sizes.batch * sizes.groups * sizes.terms * sizes.digits * sizes.tokens * sizes.cols;
            let each = (sums * 4) as u64;
            self.model.traffic.l2_write += each * blocking.splits as u64;
            self.model.traffic.l2_read += if sizes.is_merged { each / sizes.digits as u64 } else { each };
        }
        self.writes(&stage.out, tensors);
    }

    /// What vector cores load, so many times, and store.
    pub(crate) fn moves(&mut self, (reads, times): (&[View], i64), writes: &[View], tensors: &[Tensor]) {
        reads.iter().for_each(|view| self.reads(view, times));
        writes.iter().for_each(|view| self.writes(view, tensors));
    }

    /// Time that nothing else hides.
    pub(crate) fn takes(&mut self, cycles: f64) {
        self.model.cycles += cycles;
    }

    fn reads(&mut self, view: &View, times: i64) {
        let once =
            view.shape.iter().zip(&view.strides).map(|(size, stride)| if *stride == 0 { 1.min(*size) } else { *size });
        let each = bytes(once.product(), view.dtype).max(0) as u64;
        let mut times = times.max(1) as u64;
        let given = self.given.len();
        self.given.retain(|tensor| *tensor != view.tensor);
        if self.given.len() < given {
            self.model.traffic.hbm_read += each;
            times -= 1;
        }
        self.model.traffic.l2_read += each * times;
    }

    fn writes(&mut self, view: &View, tensors: &[Tensor]) {
        let each = bytes(view.count(), view.dtype).max(0) as u64;
        match tensors[usize::from(view.tensor)].purpose {
            Purpose::Output => self.model.traffic.hbm_write += each,
            _ => self.model.traffic.l2_write += each,
        }
    }

    pub(crate) fn finish(self) -> Model {
        self.model
    }
}

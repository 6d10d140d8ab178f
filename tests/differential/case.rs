//! Generated kernels around a product with a quantized weight: what is drawn, and its text.

use std::sync::Arc;

use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::graph::Lowering;
use msd::ir::plan::Request;
use msd::ir::quant::scheme::Scheme;

use super::SIZES;
use super::oracle::draw::Draw;

/// Most multiply-accumulates of a product: what a debug build evaluates in milliseconds.
pub(crate) const MAX_MACS: usize = 1 << 16;

/// Where the weight stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Orientation {
    /// `X [M, K] @ W [N, K].T`
    Rows,
    /// `X [M, K] @ W [K, N]`
    Columns,
    /// `W [N, K] @ X [K, M]`, result `[N, M]`
    Left,
}

/// What surrounds the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Epilogue {
    None,
    Bias,
    Residual,
    /// A scalar times the weight.
    Factor,
    Silu,
    /// A factor for each output channel, on the weight.
    ChannelFactor,
    /// A factor for each contraction channel, on the weight.
    ContractionFactor,
    /// The weight twice, added up.
    Sum,
    /// The weight twice, one after the other along the output channels.
    Concat,
    /// The first half of the output channels.
    SliceN,
    /// The first half of the contraction.
    SliceK,
    /// A second product with the same activations.
    Gate,
}

use Epilogue as E;

impl Epilogue {
    pub(crate) fn draw(draw: &mut Draw) -> Epilogue {
        let simple = [E::None, E::None, E::None, E::None, E::Bias, E::Residual, E::Factor, E::Silu];
        let hoisted =
            [E::ChannelFactor, E::ContractionFactor, E::Sum, E::Concat, E::SliceN, E::SliceK, E::Gate, E::Gate];
        let kinds = if draw.below(3) == 0 { &hoisted } else { &simple };
        *draw.pick(kinds)
    }

    /// Whether it needs sizes that divide by 2.
    pub(crate) fn halves(self) -> bool {
        matches!(self, E::SliceN | E::SliceK)
    }
}

/// One generated kernel.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) orientation: Orientation,
    pub(crate) epilogue: Epilogue,
    /// Batches of X, if it has any.
    pub(crate) batch: Option<usize>,
    /// Whether the weight has the same batches.
    pub(crate) is_batched: bool,
    pub(crate) codes: &'static str,
    /// Of the scale: element type and shape.
    pub(crate) scale: (&'static str, String),
    pub(crate) zero: Option<String>,
    pub(crate) x: DType,
    /// Whether the product takes the magnitudes of X.
    pub(crate) positive: bool,
    pub(crate) result: &'static str,
    pub(crate) request: Request,
    /// Of the dimensions M, N and K.
    pub(crate) sizes: [usize; 3],
    /// Whether the compiled kernel knows M.
    pub(crate) is_fixed: bool,
    /// Powers of two that scales of E8M0 span, if more than usual.
    pub(crate) span: usize,
}

impl Case {
    pub(crate) fn draw(draw: &mut Draw) -> Case {
        let orientation = *draw.pick(&[Orientation::Rows, Orientation::Columns, Orientation::Left]);
        let epilogue = Epilogue::draw(draw);
        let group = *draw.pick(&[2, 8, 16, 32, 64, 128, 256]);
        let halves = epilogue.halves();
        let sizes = loop {
            let mut one = || if draw.below(40) == 0 { 0 } else { *draw.pick(SIZES) };
            let [m, n, k] = [one(), one(), one()];
            let blocks = draw.below(4);
            // Groups and halves need sizes that divide.
            let sizes = match draw.below(3) {
                0 => [m, n, k],
                1 => [m, 4 * (1 + n % 12), group * blocks],
                _ => [m, n, group * (1 + blocks)],
            };
            let sizes = if halves { [sizes[0], sizes[1] / 2 * 2, sizes[2] / 2 * 2] } else { sizes };
            if sizes.iter().product::<usize>() <= MAX_MACS {
                break sizes;
            }
        };
        let scheme = *draw.pick(Scheme::ALL);
        let lowering = *draw.pick(&[
            Lowering::Msd,
            Lowering::Msd,
            Lowering::Msd,
            Lowering::Msd,
            Lowering::Msd,
            Lowering::Auto,
            Lowering::Dequant,
        ]);
        let request = Request {
            lowering: Some(lowering),
            scheme: (draw.below(4) > 0).then_some(scheme),
            block: (draw.below(5) == 0).then_some(group as u64),
            ..Request::default()
        };
        let mut case = Case {
            orientation,
            epilogue,
            batch: (draw.below(4) == 0).then(|| 1 + draw.below(3)),
            is_batched: draw.below(3) == 0,
            codes: draw.pick::<&str>(&["i8", "i8", "u8", "i4", "u4"]),
            scale: (draw.pick::<&str>(&["f32", "f16", "bf16"]), String::new()),
            zero: None,
            x: *draw.pick(&[DType::BF16, DType::F16, DType::F32]),
            positive: draw.below(4) == 0 || (scheme == Scheme::Uint8x2 && draw.below(4) > 0),
            result: draw.pick::<&str>(&["f32", "f32", "f32", "bf16", "f16"]),
            request,
            sizes,
            is_fixed: draw.below(3) > 0,
            span: 0,
        };
        case.scale.1 = case.part(draw, group);
        if draw.below(2) == 0 {
            let types: &[&str] = &["u8", "i8", "u4", "i4", "i32", "f32", "f16", "bf16"];
            let own = case.codes;
            let dtype: &str = if draw.below(2) == 0 { own } else { draw.pick::<&str>(types) };
            case.zero = Some(format!("{dtype}{}", case.part(draw, group)));
        }
        case
    }

    /// Where a scale or zero point varies.
    fn part(&self, draw: &mut Draw, group: usize) -> String {
        let [_, n, k] = self.sizes;
        let per_channel = "[N]".to_string();
        let pair = |n: &str, k: &str| match self.orientation {
            Orientation::Columns => format!("[{k}, {n}]"),
            Orientation::Rows | Orientation::Left => format!("[{n}, {k}]"),
        };
        let whole = self.batch.is_some() && self.is_batched;
        match draw.below(10) {
            0 => "[1]".to_string(),
            1 | 2 => "[K]".to_string(),
            3..6 if k % group == 0 => {
                let pair = pair("N", &format!("K/{group}"));
                if whole { format!("[H, {}", &pair[1..]) } else { pair }
            }
            6 if k % group == 0 && n % 4 == 0 => {
                let pair = pair("N/4", &format!("K/{group}"));
                if whole { format!("[1, {}", &pair[1..]) } else { pair }
            }
            7 if n % 4 == 0 => "[N/4]".to_string(),
            8 if k % group == 0 => format!("[K/{group}]"),
            9 if draw.below(3) == 0 && !whole => pair("N", "K"),
            _ if whole && draw.below(2) == 0 => "[H, N]".to_string(),
            _ => per_channel,
        }
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes: Sizes =
            ["M", "N", "K"].into_iter().zip(self.sizes).map(|(name, size)| (Arc::from(name), size as u64)).collect();
        if let Some(batch) = self.batch {
            sizes.insert(Arc::from("H"), batch as u64);
        }
        sizes
    }

    /// Rows of the weight as the product has them, `[N, K]` for `Rows` and `Left`.
    fn weight(&self, name: &str) -> String {
        let columns = self.orientation == Orientation::Columns;
        let rank = 2 + usize::from(self.batch.is_some() && self.is_batched);
        let axis = |along_n: bool| rank - 2 + usize::from(along_n == columns);
        let w = format!("dequant({name})");
        match self.epilogue {
            E::Factor => format!("(2.5 * {w})"),
            // `v` lies along N, `c` along K.
            E::ChannelFactor if columns => format!("({w} * v)"),
            E::ChannelFactor => format!("({w} * reshape(v, [N, 1]))"),
            E::ContractionFactor if columns => format!("({w} * reshape(c, [K, 1]))"),
            E::ContractionFactor => format!("({w} * c)"),
            E::Sum => format!("({w} + dequant(U))"),
            E::Concat => format!("concat({w}, dequant(U), {})", axis(true)),
            E::SliceN => format!("slice({w}, {}, 0, N/2)", axis(true)),
            E::SliceK => format!("slice({w}, {}, 0, K/2)", axis(false)),
            E::None | E::Bias | E::Residual | E::Silu | E::Gate => w,
        }
    }

    /// The activations as the product has them.
    fn activations(&self) -> String {
        let x = if self.positive { "abs(X)" } else { "X" };
        match (self.epilogue, self.orientation) {
            (E::SliceK, Orientation::Left) => format!("slice({x}, -2, 0, K/2)"),
            (E::SliceK, _) => format!("slice({x}, -1, 0, K/2)"),
            _ => x.to_string(),
        }
    }

    fn product(&self, name: &str) -> String {
        let (w, x) = (self.weight(name), self.activations());
        match self.orientation {
            Orientation::Rows => format!("{x} @ {w}.T"),
            Orientation::Columns => format!("{x} @ {w}"),
            Orientation::Left => format!("{w} @ {x}"),
        }
    }

    /// `max|x| * sum|w|` of the product, in the language itself; with the absorbed scale `s`.
    pub(crate) fn measure(&self) -> String {
        let (w, x) = (self.weight("W"), self.activations());
        let s = match (self.is_absorbed(), self.epilogue) {
            (false, _) => "1",
            (true, E::SliceK) => "slice(s, 0, 0, K/2)",
            (true, _) => "s",
        };
        let body = match self.orientation {
            Orientation::Rows => format!("amax(abs({x} * {s})) * sum(abs({w})).T"),
            Orientation::Columns => format!("amax(abs({x} * {s})) * sum(abs({w}.T)).T"),
            Orientation::Left => format!("sum(abs({w})) * amax(abs({x}.T * {s})).T"),
        };
        let s = if self.is_absorbed() { ", s: f32[K]" } else { "" };
        self.kernel("measure", s, "f32", &body)
    }

    /// Whether the scale goes into the activations.
    pub(crate) fn is_absorbed(&self) -> bool {
        self.scale.1 == "[K]"
    }

    pub(crate) fn source(&self) -> String {
        let product = self.product("W");
        let n = self.result_columns();
        let channel = if self.orientation == Orientation::Left { format!("{n}, 1") } else { n.to_string() };
        let (extra, body) = match self.epilogue {
            E::Bias => (format!(", b: f32[{channel}]"), format!("{product} + b")),
            E::Residual => (format!(", r: bf16[{}]", self.result_shape()), format!("r + {product}")),
            E::Silu => (String::new(), format!("silu({product})")),
            E::Gate => (String::new(), format!("silu({product}) * ({})", self.product("U"))),
            _ => (String::new(), product),
        };
        self.kernel("linear", &extra, self.result, &body)
    }

    fn kernel(&self, name: &str, extra: &str, result: &str, body: &str) -> String {
        let batch = self.batch.map_or("", |_| "H, ");
        let w_batch = if self.is_batched { batch } else { "" };
        let (w, x) = match self.orientation {
            Orientation::Rows => ("N, K", "M, K"),
            Orientation::Columns => ("K, N", "M, K"),
            Orientation::Left => ("N, K", "K, M"),
        };
        let zero = self.zero.as_ref().map_or(String::new(), |z| format!(" zero {z}"));
        let weight = format!("{}[{w_batch}{w}] scale {}{}{zero}", self.codes, self.scale.0, self.scale.1);
        let second = match self.epilogue {
            E::Sum | E::Concat | E::Gate => format!(", U: {weight}"),
            E::ChannelFactor => ", v: f32[N]".to_string(),
            E::ContractionFactor => ", c: f32[K]".to_string(),
            _ => String::new(),
        };
        let params = format!("W: {weight}, X: {}[{batch}{x}]{second}{extra}", self.x.name());
        format!("kernel {name}({params}) -> {result}[{}] {{ {body} }}", self.result_shape())
    }

    fn result_columns(&self) -> &'static str {
        match self.epilogue {
            E::Concat => "2*N",
            E::SliceN => "N/2",
            _ => "N",
        }
    }

    fn result_shape(&self) -> String {
        let (batch, n) = (self.batch.map_or("", |_| "H, "), self.result_columns());
        match self.orientation {
            Orientation::Left => format!("{batch}{n}, M"),
            Orientation::Rows | Orientation::Columns => format!("{batch}M, {n}"),
        }
    }

    /// Output channels of the result.
    pub(crate) fn columns(&self) -> usize {
        match self.epilogue {
            E::Concat => 2 * self.sizes[1],
            E::SliceN => self.sizes[1] / 2,
            _ => self.sizes[1],
        }
    }

    /// The same before its final cast, which no bound is about.
    pub(crate) fn uncast(&self) -> Case {
        Case { result: "f32", ..self.clone() }
    }

    /// The same product of magnitudes: the sum of those of the terms. For a case that is bare.
    pub(crate) fn magnitude(&self) -> String {
        let text = self.source();
        let (head, body) = text.split_once('{').unwrap_or((&text, ""));
        let body = body.replace("dequant(W)", "abs(dequant(W))").replace('X', "abs(X)");
        format!("{head}{{{body}")
    }

    /// The product with the weight by itself, to F32: what its certificate is about.
    pub(crate) fn bare(&self) -> Case {
        let epilogue = if self.epilogue.halves() { self.epilogue } else { E::None };
        Case { epilogue, ..self.uncast() }
    }

    /// Index of an element of token `m`, `j` along the other axis of an operand or result.
    pub(crate) fn place(&self, batch: usize, m: usize, j: usize, other: usize) -> usize {
        let tokens = self.sizes[0];
        match self.orientation {
            Orientation::Left => (batch * other + j) * tokens + m,
            Orientation::Rows | Orientation::Columns => (batch * tokens + m) * other + j,
        }
    }

    pub(crate) fn batches(&self) -> usize {
        self.batch.unwrap_or(1)
    }

    /// Position of X among the parameters.
    pub(crate) fn x_index(&self) -> usize {
        1
    }
}

//! How a product is cut into tiles, for the sizes of a call: tokens in blocks, channels in panels, K in
//! blocks, all of them in units that threads share out. Pure arithmetic; which registers tiles have is
//! [`crate::micro`]'s, and the loops over the blocks [`crate::lower::product`]'s, which read them from a
//! table. Speed depends on it, and no bit of a result.

use crate::micro::Emitter;
use crate::pool::cores;
use crate::schedule::{Product, Term};
use crate::tile::{C_ROW, MAX_PANELS, Operands, PANEL, SHARING, Stream, Sum, Tile};

/// Units along K of a block, some 2 KB of a row: of 256 to 1024 the best on two generations of Xeon, by a
/// few percent.
const K_UNITS: u64 = 512;

/// Fewest units that threads can share out well.
const FEW_UNITS: u64 = 16;

/// Units along the channels below which panels are rather shared out than taken together.
const FEW_COLUMNS: u64 = 8;

/// Digit rows of a unit from which on it takes several areas of the channels, see [`Emitter::areas`].
const MANY_ROWS: u64 = 256;

/// Fewest tokens worth a unit of their own.
const LEAST_TOKENS: u64 = 16;

/// What decides, of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) tokens: u64,
    pub(crate) channels: u64,
    pub(crate) batches: u64,
}

/// A product cut up. Its tokens are in blocks as [`TileTokens`] says, the first of them of one token more than the
/// others if they are not all alike; [`crate::schedule::RowLayout`] is of the same blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocking {
    /// Panels of a unit, of the last one, and of the strips that tiles take.
    pub(crate) panels: u64,
    pub(crate) last_panels: u64,
    pub(crate) strip: u64,
    /// Units along the channels.
    pub(crate) columns: u64,
    /// Tokens of the first blocks, and the number of those; of the others.
    pub(crate) head: u64,
    pub(crate) heads: u64,
    pub(crate) tail: u64,
    pub(crate) tails: u64,
    /// Parts of each block of K.
    pub(crate) k_parts: u64,
    /// Blocks that are done together, and how often that is.
    pub(crate) together: u64,
    pub(crate) turns: u64,
}

/// How many tokens tiles take at most, where there are few and where there are many, and how K is cut for as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TileTokens {
    pub(crate) few: u64,
    pub(crate) many: u64,
    /// From how many tokens on they are many.
    pub(crate) from: u64,
    /// Parts of a block of K, where panels are shared.
    pub(crate) k_parts: u64,
}

impl TileTokens {
    /// How so many tokens are cut, in blocks as even as can be; at least one.
    pub(crate) fn cut(self, tokens: u64) -> TokenBlocks {
        let most = if tokens >= self.from { self.many } else { self.few };
        let blocks = tokens.div_ceil(most).max(1);
        let k_parts = if blocks < SHARING as u64 { 1 } else { self.k_parts };
        TokenBlocks { blocks, heads: tokens % blocks, tail: tokens / blocks, k_parts }
    }
}

/// Tokens in blocks: how many in all, how many hold one token more than the others, and how many tokens those hold; and
/// the parts of each block of K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenBlocks {
    pub(crate) blocks: u64,
    pub(crate) heads: u64,
    pub(crate) tail: u64,
    pub(crate) k_parts: u64,
}

/// Entries of the table about the blocks of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenEntry {
    Blocks,
    Heads,
    Tail,
    KParts,
}

impl TokenBlocks {
    /// An entry of the table.
    pub(crate) fn entry(&self, entry: TokenEntry) -> u64 {
        match entry {
            TokenEntry::Blocks => self.blocks,
            TokenEntry::Heads => self.heads,
            TokenEntry::Tail => self.tail,
            TokenEntry::KParts => self.k_parts,
        }
    }
}

/// Entries of the table that stage code reads for a product, beside those of [`TokenEntry`]: of [`Blocking`], then for
/// each term those of [`TermEntry`].
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Entry {
    Panels,
    LastPanels,
    Strip,
    Area,
    Columns,
    Together,
    Turns,
}

/// Number of entries of [`Entry`].
pub(crate) const ENTRIES: usize = Entry::Turns as usize + 1;

/// Entries for each term: addresses of its tiles, of the last strip of all and of the others.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum TermEntry {
    Head,
    LastHead,
    Tail,
    LastTail,
}

/// Number of entries of [`TermEntry`].
pub(crate) const TERM_ENTRIES: usize = TermEntry::LastTail as usize + 1;

/// What tiles of a product may be like.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Of each term: who writes its tiles, what they multiply, and digits.
    terms: Vec<(Emitter, Operands, usize)>,
    /// How many threads there may be to share units out to.
    cores: u64,
}

impl Limits {
    /// The limits of products with these terms, where `widest` is the best emitter of the target.
    pub(crate) fn new(terms: &[Term], widest: Emitter) -> Limits {
        let of = |term: &Term| {
            let digits = term.digits();
            (widest.serving(&term.operands, term.sum, digits), term.operands, digits)
        };
        Limits { terms: terms.iter().map(of).collect(), cores: cores() as u64 }
    }

    /// Most tokens of a block.
    pub(crate) fn tokens(&self) -> TileTokens {
        let of = |(emitter, operands, digits): &(Emitter, Operands, usize)| {
            emitter.max_rows(operands).map(|rows| (rows / digits).max(1) as u64)
        };
        let least = self.terms.iter().map(of).reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])]);
        let [few, many] = least.unwrap_or([1, 1]);
        let emitters = || self.terms.iter().map(|(emitter, ..)| *emitter);
        let rows = emitters().map(Emitter::many_rows).max().unwrap_or(1);
        let from = if few == many { 0 } else { rows.div_ceil(self.digits()) };
        // Blocks of others may be too short to be cut.
        let k_parts = emitters().map(Emitter::k_parts).min().unwrap_or(1);
        TileTokens { few, many, from, k_parts }
    }

    /// Most digit rows that are done with a block of the weights.
    fn rows_together(&self) -> u64 {
        self.terms.iter().map(|(emitter, ..)| emitter.rows_together() as u64).min().unwrap_or(1)
    }

    /// Areas of a unit of many rows, of so many channels if they are known: at least two units are left for each
    /// core.
    pub(crate) fn areas(&self, channels: Option<u64>) -> u64 {
        let most = self.terms.iter().map(|(emitter, ..)| emitter.areas() as u64).min().unwrap_or(1);
        let Some(channels) = channels else { return most };
        let units = FEW_COLUMNS.max(2 * self.cores);
        (channels / (units * (MAX_PANELS * PANEL) as u64)).clamp(1, most)
    }

    /// Most digits of a term.
    fn digits(&self) -> u64 {
        self.terms.iter().map(|(_, _, digits)| *digits).max().unwrap_or(1) as u64
    }

    /// Whether some tiles use matrix registers.
    pub(crate) fn have_matrices(&self) -> bool {
        self.terms.iter().any(|(emitter, ..)| *emitter == Emitter::Amx)
    }

    /// Whether all tiles are machine code.
    pub(crate) fn are_machine(&self) -> bool {
        self.terms.iter().all(|(emitter, ..)| *emitter != Emitter::Portable)
    }

    /// Who writes the tiles of a term.
    pub(crate) fn emitter(&self, term: usize) -> Emitter {
        self.terms[term].0
    }

    fn panels(&self, tokens: u64) -> u64 {
        let of = |(emitter, operands, digits): &(Emitter, Operands, usize)| {
            emitter.panels(operands, digits * tokens as usize)
        };
        self.terms.iter().map(of).min().unwrap_or(1) as u64
    }

    /// Cuts a product of that shape.
    pub(crate) fn cut(&self, shape: Shape) -> Blocking {
        let wide = self.cut_in(shape, self.areas(Some(shape.channels)));
        let rows = wide.together * wide.head * self.digits();
        if rows >= MANY_ROWS { wide } else { self.cut_in(shape, 1) }
    }

    /// The same, in units of so many areas at most.
    fn cut_in(&self, shape: Shape, areas: u64) -> Blocking {
        let (tokens, batches) = (shape.tokens.max(1), shape.batches.max(1));
        let TokenBlocks { blocks, heads, tail, k_parts } = self.tokens().cut(tokens);
        let head = if heads > 0 { tail + 1 } else { tail };
        let all = shape.channels.div_ceil(PANEL as u64).max(1);
        let most = (all / FEW_COLUMNS).clamp(1, areas * MAX_PANELS as u64);
        let strip = self.panels(head).min(most);
        let area = area_panels(strip).min(most);
        let area = area - area % strip;
        let panels = (most / area).min(areas) * area;
        let columns = all.div_ceil(panels);
        let last_panels = all - (columns - 1) * panels;
        // Few channels leave threads idle unless tokens are shared out as well.
        let wanted = FEW_UNITS.div_ceil(columns * batches);
        let most = (self.rows_together() / (head * self.digits())).max(1);
        let least = LEAST_TOKENS.div_ceil(head);
        let together = blocks.div_ceil(wanted).max(least).min(most).min(blocks);
        let turns = blocks.div_ceil(together);
        let together = blocks.div_ceil(turns);
        Blocking {
            panels,
            last_panels,
            strip,
            columns,
            head,
            heads,
            tail,
            tails: blocks - heads,
            k_parts,
            together,
            turns,
        }
    }

    /// Every size of tiles that products may need, whose tokens are one of `tokens` and channels as many as
    /// given; of `None` there may be any number.
    pub(crate) fn tiles(&self, tokens: Option<u64>, channels: Option<u64>) -> Vec<Size> {
        let most = self.tokens().many;
        // More tokens are cut into as many blocks of sizes among these, or into more of sizes between those.
        let range = tokens.map_or(1..=SHARING as u64 * most, |n| n..=n);
        let mut found = Vec::new();
        let mut add = |size: Size| {
            if !found.contains(&size) {
                found.push(size);
            }
        };
        for number in range {
            let mut add_all = |channels| {
                // The more batches there are, the more blocks are done together, up to so many.
                let [low, high] = [1, FEW_UNITS].map(|batches| self.cut(Shape { tokens: number, channels, batches }));
                for size in low.tiles() {
                    // So they are with more tokens.
                    let is_any = tokens.is_none() && size.tokens as u64 + 1 >= most;
                    for stream in [Stream::Alone, Stream::Direct, Stream::Shared] {
                        if is_any || (low.stream()..=high.stream()).contains(&stream) {
                            add(Size { stream, ..size });
                        }
                    }
                }
            };
            match channels {
                Some(channels) => add_all(channels),
                None => (1..=MAX_PANELS as u64 * (FEW_COLUMNS + 1)).for_each(|panels| add_all(panels * PANEL as u64)),
            }
        }
        found
    }
}

impl Blocking {
    /// Independent units of a product.
    pub(crate) fn units(&self, batches: u64) -> u64 {
        self.columns * batches * self.turns
    }

    /// The part of the table that is about the product as a whole.
    pub(crate) fn entries(&self) -> [u64; ENTRIES] {
        let mut table = [0; ENTRIES];
        let entries = [
            (Entry::Panels, self.panels),
            (Entry::LastPanels, self.last_panels),
            (Entry::Strip, self.strip),
            (Entry::Area, area_panels(self.strip)),
            (Entry::Columns, self.columns),
            (Entry::Together, self.together),
            (Entry::Turns, self.turns),
        ];
        for (entry, value) in entries {
            table[entry as usize] = value;
        }
        table
    }

    /// In a few words, of one term.
    pub(crate) fn describe(&self, term: &Term) -> String {
        let (head, blocks) = (self.head, self.heads + self.tails);
        let per_k = match term.sum {
            Sum::Groups(group) => u64::from(group.units),
            Sum::Whole { .. } | Sum::Wide => 1,
        };
        let k = k_block(term) / self.k_parts * per_k * term.operands.unit_depth() as u64;
        format!("m{head}*{blocks}/{} n{} k{k}", self.together, self.panels * PANEL as u64)
    }

    /// Where tiles read panels from.
    fn stream(&self) -> Stream {
        match self.together.min(self.heads + self.tails) {
            0 | 1 => Stream::Alone,
            few if few < SHARING as u64 => Stream::Direct,
            _ => Stream::Shared,
        }
    }

    /// Sizes of the tiles of [`TermEntry`], in order; blocks that do not occur have those of the
    /// others.
    pub(crate) fn tiles(&self) -> [Size; TERM_ENTRIES] {
        let rest = self.last_panels % self.strip;
        let last = if rest == 0 { self.strip } else { rest };
        let wide = if self.columns > 1 || self.last_panels > self.strip { self.strip } else { last };
        let tile =
            |tokens: u64, panels: u64| Size { tokens: tokens as usize, panels: panels as usize, stream: self.stream() };
        [tile(self.head, wide), tile(self.head, last), tile(self.tail, wide), tile(self.tail, last)]
    }
}

/// What a tile multiplies at once, and where it reads panels from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) tokens: usize,
    pub(crate) panels: usize,
    stream: Stream,
}

/// The tile of a product's term, of a size.
pub(crate) fn tile(product: &Product, term: &Term, Size { tokens, panels, stream }: Size) -> Tile {
    let finish = product.finish.as_ref().map(|(finish, _)| *finish);
    Tile { operands: term.operands, sum: term.sum, finish, stream, digits: term.digits(), tokens, panels }
}

/// What a tile's argument `K` counts at most: units, or groups of them.
pub(crate) fn k_block(term: &Term) -> u64 {
    match (term.sum, term.operands) {
        (Sum::Groups(group), _) => (K_UNITS / u64::from(group.units.max(1))).max(1),
        // Sums of a block must fit an I32: of words times bytes, 2^15 * 255 each.
        (Sum::Wide, Operands::Quads(form)) if form.x_dtype().host_bytes() == 2 => 64,
        // As many bytes of a panel, whatever it is of.
        (Sum::Whole { .. } | Sum::Wide, operands) => K_UNITS * 64 / operands.unit_bytes() as u64,
    }
}

/// Panels of an area of the channels, whose sums lie side by side, of strips of so many.
fn area_panels(strip: u64) -> u64 {
    MAX_PANELS as u64 / strip * strip
}

/// Scratch memory for the sums of an area, of as many rows as are done together.
pub(crate) fn area_bytes(term: &Term, emitter: Emitter) -> usize {
    emitter.rows_together() * C_ROW * term.sum.c_dtype(&term.operands).host_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use msd_ir::dtype::DType;

    use super::*;
    use crate::isa::DotForm;
    use crate::tile::QuadForm;

    /// Products of floats, and of two terms, have all their tiles as well.
    #[test]
    fn tiles_of_floats_and_of_two_terms_are_known() {
        let floats = (Emitter::Zmm, Operands::Floats { panel: DType::I8, compute: DType::F32 }, 1);
        let bytes = |emitter, digits| limits(emitter, digits).terms[0];
        for terms in [
            vec![floats],
            vec![bytes(Emitter::Amx, 2), bytes(Emitter::Zmm, 2)],
            vec![bytes(Emitter::Amx, 1), bytes(Emitter::Amx, 3)],
            vec![bytes(Emitter::Amx, 2), floats],
        ] {
            let limits = Limits { terms, cores: 2 };
            let any = limits.tiles(None, None);
            for channels in [16, 48, 1000, 4096] {
                for tokens in 1..=300 {
                    let exact = limits.tiles(Some(tokens), Some(channels));
                    for batches in [1, 2, 4, 15, 100] {
                        let b = limits.cut(Shape { tokens, channels, batches });
                        for tile in b.tiles() {
                            assert!(any.contains(&tile) && exact.contains(&tile), "{tile:?} {b:?}");
                        }
                    }
                }
            }
        }
    }

    fn limits(emitter: Emitter, digits: usize) -> Limits {
        let operands = Operands::Quads(QuadForm::choose(DotForm::UnsignedBytes, DType::I8, DType::I8));
        Limits { terms: vec![(emitter, operands, digits)], cores: 2 }
    }

    #[test]
    fn every_token_and_channel_is_in_one_block() {
        for emitter in [Emitter::Portable, Emitter::Ymm, Emitter::Zmm, Emitter::Amx] {
            for digits in 1..=4 {
                let limits = limits(emitter, digits);
                let any = limits.tiles(None, None);
                for channels in [1, 15, 16, 17, 48, 64, 1000, 4096] {
                    let known = limits.tiles(None, Some(channels));
                    for (tokens, batches) in (1..=300)
                        .chain((301..1500).step_by(37))
                        .chain([5000])
                        .flat_map(|n| [1, 2, 4, 15, 100].map(|b| (n, b)))
                    {
                        let b = limits.cut(Shape { tokens, channels, batches });
                        assert_eq!(b.head * b.heads + b.tail * b.tails, tokens, "{b:?}");
                        let panels = (b.columns - 1) * b.panels + b.last_panels;
                        assert_eq!(panels, channels.div_ceil(16), "{b:?}");
                        assert!(b.last_panels >= 1 && b.last_panels <= b.panels, "{b:?}");
                        assert!(b.panels.is_multiple_of(b.strip), "{b:?}");
                        let areas = b.panels.div_ceil(area_panels(b.strip));
                        assert!(areas <= limits.areas(Some(channels)) && areas <= limits.areas(None), "{b:?}");
                        assert!(b.turns * b.together >= b.heads + b.tails, "{b:?}");
                        assert!(b.together * b.head * digits as u64 <= emitter.rows_together() as u64, "{b:?}");
                        for tile in b.tiles() {
                            assert!(known.contains(&tile) && any.contains(&tile), "{tile:?} {b:?}");
                            let exact = limits.tiles(Some(tokens), Some(channels));
                            assert!(exact.contains(&tile), "{tile:?} {b:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_of_k_have_parts_where_every_tile_has_matrices_and_panels_are_shared() {
        let parts = |limits: &Limits, tokens| limits.cut(Shape { tokens, channels: 4096, batches: 1 }).k_parts;
        let mut limits = limits(Emitter::Amx, 2);
        assert_eq!([1, 8, 24, 25, 256].map(|tokens| parts(&limits, tokens)), [1, 1, 1, 4, 4]);
        limits.terms.push((Emitter::Zmm, limits.terms[0].1, 2));
        assert_eq!(parts(&limits, 256), 1);
    }

    #[test]
    fn units_of_many_rows_have_several_areas_where_channels_are_many() {
        let panels = |cores, tokens, channels| {
            Limits { cores, ..limits(Emitter::Amx, 2) }.cut(Shape { tokens, channels, batches: 1 }).panels
        };
        assert_eq!([120, 128].map(|tokens| panels(2, tokens, 4096)), [4, 16]);
        // Tokens in two halves, of many rows each or not.
        assert_eq!([128, 256].map(|tokens| panels(2, tokens, 1024)), [4, 8]);
        assert_eq!([512, 1023, 1024].map(|channels| panels(2, 512, channels)), [4, 4, 8]);
        assert_eq!([8, 16, 64].map(|cores| panels(cores, 256, 4096)), [16, 8, 4]);
    }

    #[test]
    fn tokens_are_shared_out_where_channels_are_few() {
        let few = limits(Emitter::Zmm, 2).cut(Shape { tokens: 512, channels: 48, batches: 1 });
        assert!(few.units(1) >= FEW_UNITS, "{few:?}");
        let many = limits(Emitter::Zmm, 2).cut(Shape { tokens: 256, channels: 4096, batches: 1 });
        assert_eq!((many.turns, many.together), (4, 10));
        let decode = limits(Emitter::Zmm, 2).cut(Shape { tokens: 64, channels: 4096, batches: 1 });
        assert_eq!((decode.turns, decode.together), (1, 10));
    }
}

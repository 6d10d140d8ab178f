//! The machine's own limits, measured beside the kernels they are set against: how fast it reads
//! memory, and how many multiply-accumulates its registers can take. It owns the measuring loops
//! and one buffer past the caches. It refuses to own repetition and statistics: each call is one
//! short sample, so that a benchmark can interleave samples with kernels and see the same weather.
//!
//! A limit is what this machine does with the best instruction found at run time, whatever our
//! kernels use. On x86-64 the loops are written with its instructions; elsewhere they are plain
//! Rust and so lower bounds.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use crate::pool::Pool;

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(not(target_arch = "x86_64"))]
use portable as host;
#[cfg(target_arch = "x86_64")]
use x86 as host;

/// What is read in one pass over the buffer: several times the caches of a desktop or of the share
/// of a server's that a few threads have.
const BYTES: usize = 256 << 20;

/// How many places a thread reads at once. What is best depends on how many misses a core keeps in
/// flight and how many streams its prefetcher follows.
pub const STREAMS: [usize; 4] = [1, 2, 4, 8];

/// Measured limits of this machine for a number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Memory read bandwidth, 1e9 bytes per second.
    pub read_gbs: f64,
    /// 8-bit integer multiplications accumulated in 32 bits, 1e9 per second, of vector registers.
    pub int8_gmacs: f64,
    /// The same of matrix registers (AMX), where there are any.
    pub amx_gmacs: Option<f64>,
    /// F32 multiply-adds, 1e9 per second.
    pub f32_gmacs: f64,
}

/// Measures the limits of the machine with a fixed number of threads.
pub struct Probe {
    pool: Pool,
    /// One part per thread, which that thread alone allocates, touches and reads.
    parts: Vec<Vec<Line>>,
    read: Reader,
    int8: Peak,
    amx: Option<Peak>,
    f32: Peak,
}

impl Probe {
    /// A probe of `threads` threads (see [`Pool::new`]) with a buffer of 268 MB, ready to measure.
    pub fn new(threads: usize) -> Probe {
        let pool = Pool::new(threads);
        let lines = (BYTES / size_of::<Line>()).div_ceil(pool.threads());
        let parts: Vec<OnceLock<Vec<Line>>> = (0..pool.threads()).map(|_| OnceLock::new()).collect();
        pool.run(parts.len(), &|thread| {
            // Written, and not with zeros: untouched pages would all be one page of zeros.
            parts[thread].get_or_init(|| (1..=lines as u64).map(|i| Line([i; 8])).collect());
        });
        let parts = parts.into_iter().map(|part| part.into_inner().unwrap_or_default()).collect();
        Probe { pool, parts, read: host::reader(), int8: host::int8(), amx: host::amx(), f32: host::f32() }
    }

    /// How many threads measure.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// One sample of each limit.
    pub fn limits(&self) -> Limits {
        Limits {
            read_gbs: self.read_gbs(),
            int8_gmacs: self.int8_gmacs(),
            amx_gmacs: self.amx.as_ref().map(|peak| self.gmacs(peak)),
            f32_gmacs: self.f32_gmacs(),
        }
    }

    /// Read bandwidth over all threads, 1e9 bytes per second: the best of one pass over the buffer
    /// with each number of [`STREAMS`].
    pub fn read_gbs(&self) -> f64 {
        STREAMS.iter().map(|&streams| self.read_streams_gbs(streams)).fold(0.0, f64::max)
    }

    /// Read bandwidth over all threads in one pass over the buffer, each thread reading its part
    /// in `streams` places at once (rounded down to one of [`STREAMS`]), 1e9 bytes per second.
    pub fn read_streams_gbs(&self, streams: usize) -> f64 {
        let seconds = self.seconds(&|thread| {
            black_box((self.read)(&self.parts[thread], streams));
        });
        let bytes: usize = self.parts.iter().map(|part| size_of_val(part.as_slice())).sum();
        bytes as f64 / seconds / 1e9
    }

    /// One sample of the 8-bit integer peak of vectors over all threads, from registers, 1e9
    /// multiply-accumulates per second.
    pub fn int8_gmacs(&self) -> f64 {
        self.gmacs(&self.int8)
    }

    /// One sample of the F32 peak over all threads, from registers, 1e9 multiply-adds per second.
    pub fn f32_gmacs(&self) -> f64 {
        self.gmacs(&self.f32)
    }

    /// The instruction behind [`int8_gmacs`](Probe::int8_gmacs).
    pub fn int8_instruction(&self) -> &'static str {
        self.int8.instruction
    }

    /// The instruction behind [`Limits::amx_gmacs`].
    pub fn amx_instruction(&self) -> Option<&'static str> {
        self.amx.as_ref().map(|peak| peak.instruction)
    }

    /// The instruction behind [`f32_gmacs`](Probe::f32_gmacs).
    pub fn f32_instruction(&self) -> &'static str {
        self.f32.instruction
    }

    fn gmacs(&self, peak: &Peak) -> f64 {
        let seconds = self.seconds(&|_| (peak.run)(peak.rounds));
        (peak.macs * peak.rounds) as f64 * self.threads() as f64 / seconds / 1e9
    }

    /// The time until every thread has done `work`, all of them awake at the start.
    fn seconds(&self, work: &(dyn Fn(usize) + Sync)) -> f64 {
        self.pool.run(self.threads(), &|_| {});
        let start = Instant::now();
        self.pool.run(self.threads(), work);
        // Never 0, whatever the clock's resolution.
        start.elapsed().as_secs_f64().max(1e-9)
    }
}

/// A cache line of the buffer.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

/// Sums a part in a number of streams; the value is only there to be needed.
type Reader = fn(&[Line], usize) -> u64;

/// A loop of multiply-accumulates that depend on nothing but their accumulators.
struct Peak {
    /// What it is made of.
    instruction: &'static str,
    /// Multiply-accumulates of one round.
    macs: u64,
    /// Rounds of one sample: 3 to 10 ms.
    rounds: u64,
    /// Executes so many rounds. Of the instructions the host has.
    run: fn(u64),
}

/// The streams of a part, all of one length, and the lines they leave over. They start on
/// different lines of a page: starts a multiple of 4 KB apart would compete for the same few ways
/// of the first-level cache, which at eight streams costs AVX2 loads a seventh of the bandwidth on Zen 5.
fn split<const S: usize>(part: &[Line]) -> ([&[Line]; S], &[Line]) {
    const PAGE: usize = 4096 / size_of::<Line>();
    let even = part.len() / S;
    let length = if S == 1 || even < PAGE { even } else { even / PAGE * PAGE - PAGE + PAGE / S + 1 };
    (std::array::from_fn(|s| &part[s * length..][..length]), &part[S * length..])
}

/// The processor's name for itself, or its architecture if it has none.
pub fn cpu_name() -> String {
    host::cpu_name().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The vector features of this processor that our kernels or these limits depend on.
pub fn features() -> Vec<&'static str> {
    host::features()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_read_every_line_once() {
        for read in [host::reader(), portable::reader()] {
            for lines in [0, 1, 7, 64, 1000, 4096, 10_000] {
                let part: Vec<Line> =
                    (0..lines).map(|i| Line(std::array::from_fn(|word| i * 8 + word as u64 + 1))).collect();
                for streams in STREAMS {
                    assert_eq!(read(&part, streams), 4 * lines * (8 * lines + 1), "{streams} streams of {lines}");
                }
            }
        }
    }

    #[test]
    fn streams_start_on_different_lines_of_a_page() {
        let part = vec![Line([1; 8]); 1 << 16];
        let (streams, rest) = split::<8>(&part);
        let mut lines: Vec<usize> = streams.iter().map(|s| s.as_ptr().addr() / size_of::<Line>() % 64).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 8);
        assert!(rest.len() < 8 * 64, "{} lines left over", rest.len());
    }

    #[test]
    fn peaks_run_any_number_of_rounds() {
        let peaks = [host::int8(), host::f32(), portable::int8(), portable::f32()];
        for peak in peaks.into_iter().chain(host::amx()) {
            assert!(peak.macs > 0 && peak.rounds > 0 && !peak.instruction.is_empty());
            for rounds in [0, 1, 1000] {
                (peak.run)(rounds);
            }
        }
    }
}

//! The measuring loops of x86-64: reads by the widest loads the host has, and peaks written in
//! assembly, so that what is measured is what stands here at any optimisation level. Refuses to
//! choose by anything but what the processor reports.

use std::arch::asm;
use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::*;
use std::mem::transmute;
use std::ptr;

use super::{Line, Peak, Reader, split};

/// How far ahead of its loads a stream prefetches, in lines. 2 KB is the best on Cascade Lake (by
/// a third for one stream); on Zen 5 anything from 256 bytes to 8 KB is within 3 %.
const AHEAD: usize = 2048 / size_of::<Line>();

/// Sums by the widest loads of the host.
pub(super) fn reader() -> Reader {
    if has!("avx512f") {
        // SAFETY: the feature is there.
        |part, streams| unsafe { sum_avx512(part, streams) }
    } else if has!("avx2") {
        // SAFETY: the feature is there.
        |part, streams| unsafe { sum_avx2(part, streams) }
    } else {
        // SAFETY: SSE2 is in every x86-64 processor.
        |part, streams| unsafe { sum_sse2(part, streams) }
    }
}

/// Defines the sum of a part by vectors of one type, `$pieces` to a line.
macro_rules! sum_by {
    ($sum:ident, $sum_streams:ident, $feature:literal, $pieces:literal,
        $vector:ty, $zero:ident, $load:ident, $add:ident) => {
        #[target_feature(enable = $feature)]
        fn $sum(part: &[Line], streams: usize) -> u64 {
            match streams {
                8.. => $sum_streams::<8>(part),
                4.. => $sum_streams::<4>(part),
                2.. => $sum_streams::<2>(part),
                _ => $sum_streams::<1>(part),
            }
        }

        #[target_feature(enable = $feature)]
        fn $sum_streams<const S: usize>(part: &[Line]) -> u64 {
            let (streams, rest) = split::<S>(part);
            // Two sets of accumulators overlap the additions; more would not fit the registers.
            let mut sums: [[$vector; $pieces]; 2] = [[$zero(); $pieces]; 2];
            for i in 0..streams[0].len() {
                for (s, stream) in streams.iter().enumerate() {
                    let line = ptr::from_ref(&stream[i]);
                    // A prefetch may name any address, as here past the end of the part.
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    for (piece, sum) in sums[s % 2].iter_mut().enumerate() {
                        // SAFETY: the pieces make up the line, which is aligned for any of them.
                        *sum = $add(*sum, unsafe { $load(line.cast::<$vector>().add(piece)) });
                    }
                }
            }
            // SAFETY: both are 128 bytes in which every bit pattern is a value.
            let sums: [u64; 16] = unsafe { transmute(sums) };
            sums.into_iter().chain(rest.iter().flat_map(|line| line.0)).fold(0, u64::wrapping_add)
        }
    };
}

sum_by!(
    sum_avx512,
    sum_avx512_streams,
    "avx512f",
    1,
    __m512i,
    _mm512_setzero_si512,
    _mm512_load_si512,
    _mm512_add_epi64
);
sum_by!(sum_avx2, sum_avx2_streams, "avx2", 2, __m256i, _mm256_setzero_si256, _mm256_load_si256, _mm256_add_epi64);
sum_by!(sum_sse2, sum_sse2_streams, "sse2", 4, __m128i, _mm_setzero_si128, _mm_load_si128, _mm_add_epi64);

/// Accumulators of a peak loop, as the assembly lists them: two multiply-accumulates a cycle at a latency of 5 need 10.
const ACCUMULATORS: u64 = 12;

/// Rounds of a loop of one instruction per accumulator: 3 to 4 ms at two instructions a cycle.
const ROUNDS: u64 = 2_000_000;

/// The best 8-bit integer multiply-accumulate of the host's vectors.
pub(super) fn int8() -> Peak {
    let one = |instruction, lanes, run| Peak { instruction, macs: lanes * ACCUMULATORS, rounds: ROUNDS, run };
    // Three instructions to a multiply-accumulate.
    let three = |instruction, lanes, run| Peak { instruction, macs: lanes * ACCUMULATORS, rounds: ROUNDS / 3, run };
    if has!("avx512vnni") {
        // SAFETY: the feature is there.
        one("vpdpbusd zmm", 64, |rounds| unsafe { vpdpbusd_zmm(rounds) })
    } else if has!("avx512bw") {
        // SAFETY: the feature is there.
        three("vpmaddubsw+vpmaddwd+vpaddd zmm", 64, |rounds| unsafe { vpmaddubsw_zmm(rounds) })
    } else if has!("avxvnni") {
        // SAFETY: the feature is there.
        one("vpdpbusd ymm", 32, |rounds| unsafe { vpdpbusd_ymm(rounds) })
    } else if has!("avx2") {
        // SAFETY: the feature is there.
        three("vpmaddubsw+vpmaddwd+vpaddd ymm", 32, |rounds| unsafe { vpmaddubsw_ymm(rounds) })
    } else {
        // SAFETY: SSE2 is in every x86-64 processor.
        three("pmaddwd+paddd xmm", 8, |rounds| unsafe { pmaddwd_xmm(rounds) })
    }
}

/// That of its matrix registers.
pub(super) fn amx() -> Option<Peak> {
    // Four sums, which hide the latency of a product of 16 by 16 by 64.
    const MACS: u64 = 4 * 16 * 16 * 64;
    // SAFETY: the registers are there, and the system lets this process use them.
    let run = |rounds| unsafe { tdpbusd(rounds) };
    crate::amx::is_available().then_some(Peak { instruction: "tdpbusd tmm", macs: MACS, rounds: 200_000, run })
}

/// # Safety
/// The processor has AMX for bytes, and this process may use it.
unsafe fn tdpbusd(rounds: u64) {
    /// Every register 16 rows of 64 bytes.
    static SHAPES: [u8; 64] = {
        let mut shapes = [0; 64];
        shapes[0] = 1;
        let mut register = 0;
        while register < 8 {
            shapes[16 + 2 * register] = 64;
            shapes[48 + register] = 16;
            register += 1;
        }
        shapes
    };
    // SAFETY: by contract the instructions exist. `clobber_abi` names every register that is written, the shapes are
    // those that the processor asks for, the stack is not touched, and the count is at least 1, so the loop ends.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            ".p2align 6",
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec rcx",
            "jnz 2b",
            "tilerelease",
            shapes = in(reg) SHAPES.as_ptr(),
            inout("rcx") rounds.max(1) => _,
            clobber_abi("sysv64"),
            options(nostack),
        );
    }
}

/// The best F32 multiply-add of the host.
pub(super) fn f32() -> Peak {
    let peak = |instruction, lanes, run| Peak { instruction, macs: lanes * ACCUMULATORS, rounds: ROUNDS, run };
    if has!("avx512f") {
        // SAFETY: the feature is there.
        peak("vfmadd231ps zmm", 16, |rounds| unsafe { vfmadd_zmm(rounds) })
    } else if has!("avx2") && has!("fma") {
        // SAFETY: the features are there.
        peak("vfmadd231ps ymm", 8, |rounds| unsafe { vfmadd_ymm(rounds) })
    } else {
        // SAFETY: SSE is in every x86-64 processor.
        peak("mulps+addps xmm", 4, |rounds| unsafe { mulps_xmm(rounds) })
    }
}

/// Defines a peak loop on registers of one width. `\\r` is the number of the register in hand: 0 to
/// 11 are the accumulators, 12 to 14 hold `$operands` repeated, 15 is free. `$step` accumulates into
/// one; of the rest of a width, `$clear` zeroes one, `$fill` repeats EAX over one, and `$leave` makes
/// the upper halves clean again.
macro_rules! peak_loop {
    (zmm $($rest:tt)+) => {
        peak_loop!("vpxor xmm\\r, xmm\\r, xmm\\r", "vpbroadcastd zmm\\r, eax", "vzeroupper", $($rest)+);
    };
    (ymm $($rest:tt)+) => {
        peak_loop!(
            "vpxor xmm\\r, xmm\\r, xmm\\r", "vmovd xmm\\r, eax\nvpbroadcastd ymm\\r, xmm\\r", "vzeroupper", $($rest)+
        );
    };
    (xmm $($rest:tt)+) => {
        peak_loop!("pxor xmm\\r, xmm\\r", "movd xmm\\r, eax\npshufd xmm\\r, xmm\\r, 0", "", $($rest)+);
    };
    ($clear:literal, $fill:literal, $leave:literal, $name:ident, $operands:expr, $($step:literal),+) => {
        /// # Safety
        /// The processor has the instructions the name tells.
        unsafe fn $name(rounds: u64) {
            const OPERANDS: [u32; 3] = $operands;
            // SAFETY: by contract the instructions exist. The registers written are all declared
            // clobbered (`clobber_abi` names every vector register, RAX and the flags), memory and
            // stack are not touched, and the count is at least 1, so the loop ends.
            unsafe {
                asm!(
                    ".irp r,0,1,2,3,4,5,6,7,8,9,10,11", $clear, ".endr",
                    "mov eax, {a}", ".irp r,12", $fill, ".endr",
                    "mov eax, {b}", ".irp r,13", $fill, ".endr",
                    "mov eax, {c}", ".irp r,14", $fill, ".endr",
                    ".p2align 6",
                    "2:",
                    ".irp r,0,1,2,3,4,5,6,7,8,9,10,11", $($step,)+ ".endr",
                    "dec rcx",
                    "jnz 2b",
                    $leave,
                    a = const OPERANDS[0],
                    b = const OPERANDS[1],
                    c = const OPERANDS[2],
                    inout("rcx") rounds.max(1) => _,
                    clobber_abi("sysv64"),
                    options(nomem, nostack),
                );
            }
        }
    };
}

/// Unsigned bytes, signed bytes, and 16-bit ones.
const INT8: [u32; 3] = [0xc35a_17e9, 0x7f91_d32c, 0x0001_0001];
/// 1.0 and 0.001: sums that stay far from infinity and from subnormals.
const F32: [u32; 3] = [0x3f80_0000, 0x3a83_126f, 0];

peak_loop!(zmm vpdpbusd_zmm, INT8, "vpdpbusd zmm\\r, zmm12, zmm13");
peak_loop!(ymm vpdpbusd_ymm, INT8, "{{vex}} vpdpbusd ymm\\r, ymm12, ymm13");
peak_loop!(zmm vpmaddubsw_zmm, INT8,
    "vpmaddubsw zmm15, zmm12, zmm13", "vpmaddwd zmm15, zmm15, zmm14", "vpaddd zmm\\r, zmm\\r, zmm15");
peak_loop!(ymm vpmaddubsw_ymm, INT8,
    "vpmaddubsw ymm15, ymm12, ymm13", "vpmaddwd ymm15, ymm15, ymm14", "vpaddd ymm\\r, ymm\\r, ymm15");
peak_loop!(xmm pmaddwd_xmm, INT8, "movdqa xmm15, xmm12", "pmaddwd xmm15, xmm13", "paddd xmm\\r, xmm15");
peak_loop!(zmm vfmadd_zmm, F32, "vfmadd231ps zmm\\r, zmm12, zmm13");
peak_loop!(ymm vfmadd_ymm, F32, "vfmadd231ps ymm\\r, ymm12, ymm13");
peak_loop!(xmm mulps_xmm, F32, "movaps xmm15, xmm12", "mulps xmm15, xmm13", "addps xmm\\r, xmm15");

/// The brand string of the processor, if it has one.
pub(super) fn cpu_name() -> Option<String> {
    const FIRST: u32 = 0x8000_0002;
    const LAST: u32 = 0x8000_0004;
    if __cpuid(0x8000_0000).eax < LAST {
        return None;
    }
    let bytes: Vec<u8> = (FIRST..=LAST)
        .map(__cpuid)
        .flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
        .flat_map(u32::to_le_bytes)
        .take_while(|&byte| byte != 0)
        .collect();
    // Some are padded with spaces on either side or within.
    let name = String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

/// In the order they came to the architecture.
pub(super) fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt),+) => { [$(($name, has!($name))),+] };
    }
    let all = present!(
        "ssse3",
        "sse4.1",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avxvnni",
        "avxvnniint8"
    );
    // The standard library cannot ask for it yet.
    let all = all.into_iter().chain([("amx-int8", crate::amx::is_available())]);
    all.filter_map(|(name, present)| present.then_some(name)).collect()
}

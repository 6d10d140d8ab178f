//! The probe's figures are sane; how large they are is not tested.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use msd_jit::probe::{Limits, Probe, STREAMS, cpu_name, features};

#[test]
fn limits_are_positive_and_finite() {
    for threads in [1, 2, 3] {
        let probe = Probe::new(threads);
        assert_eq!(probe.threads(), threads);
        let Limits { read_gbs, int8_gmacs, f32_gmacs } = probe.limits();
        for limit in [read_gbs, int8_gmacs, f32_gmacs] {
            assert!(limit.is_finite() && limit > 0.0, "{limit}");
        }
        for streams in STREAMS.into_iter().chain([0, 3, 100]) {
            let limit = probe.read_streams_gbs(streams);
            assert!(limit.is_finite() && limit > 0.0, "{limit}");
        }
        assert!(!probe.int8_instruction().is_empty() && !probe.f32_instruction().is_empty());
    }
}

#[test]
fn the_processor_has_a_name() {
    let name = cpu_name();
    assert!(!name.is_empty() && name == name.trim() && !name.contains('\0'), "{name:?}");
}

#[test]
fn features_are_distinct() {
    let names = features();
    let mut distinct = names.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), names.len());
    #[cfg(target_arch = "x86_64")]
    assert_eq!(names.contains(&"avx2"), std::arch::is_x86_feature_detected!("avx2"));
}

/// Not a test of speed: prints what this machine does.
#[test]
#[ignore = "a measurement"]
fn print_limits() {
    println!("{}: {}", cpu_name(), features().join(" "));
    for threads in [1, 2] {
        let probe = Probe::new(threads);
        let median = |sample: &dyn Fn() -> f64| {
            let mut samples: Vec<f64> = (0..15).map(|_| sample()).collect();
            samples.sort_by(f64::total_cmp);
            (samples[7], samples[14])
        };
        for streams in STREAMS {
            let (median, best) = median(&|| probe.read_streams_gbs(streams));
            println!("{threads} threads, {streams} streams: median {median:.1}, best {best:.1} GB/s");
        }
        let (median_int8, best) = median(&|| probe.int8_gmacs());
        println!("{threads} threads, {}: median {median_int8:.1}, best {best:.1} GMAC/s", probe.int8_instruction());
        let (median_f32, best) = median(&|| probe.f32_gmacs());
        println!("{threads} threads, {}: median {median_f32:.1}, best {best:.1} GMAC/s", probe.f32_instruction());
    }
}

//! The probe's figures are sane; how large they are is not tested.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use msd_jit::probe::{Limits, Probe, STREAMS, cpu_name, features};

#[test]
fn limits_are_positive_and_finite() {
    for threads in [1, 2, 3] {
        let probe = Probe::new(threads);
        assert_eq!(probe.threads(), threads);
        let Limits { read_gbs, int8_gmacs, amx_gmacs, f32_gmacs } = probe.limits();
        for limit in [read_gbs, int8_gmacs, f32_gmacs].into_iter().chain(amx_gmacs) {
            assert!(limit.is_finite() && limit > 0.0, "{limit}");
        }
        for streams in STREAMS.into_iter().chain([0, 3, 100]) {
            let limit = probe.read_streams_gbs(streams);
            assert!(limit.is_finite() && limit > 0.0, "{limit}");
        }
        assert!(!probe.int8_instruction().is_empty() && !probe.f32_instruction().is_empty());
        assert_eq!(probe.amx_instruction().is_some(), amx_gmacs.is_some());
        assert_eq!(features().contains(&"amx-int8"), amx_gmacs.is_some());
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

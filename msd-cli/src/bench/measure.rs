//! Time, taken in rounds: each gives every contender a batch of calls, so that all of them see the
//! same weather, and every few rounds, or within a long one, the machine's limits are sampled in between. Medians over
//! rounds count. Owns rounds and statistics.

use std::rc::Rc;
use std::time::{Duration, Instant};

use msd::ir::diag::Diagnostic;
use msd::ir::input::Input;
use msd::jit::probe::{Limits, Probe};

use super::cold::Cold;
use crate::report::JsonLimits;

/// Least time of a batch, far beyond the clock's resolution.
const BATCH: Duration = Duration::from_millis(2);
/// Rounds between samples of the limits, and the time after which one is due whatever the round: a few times what a
/// sample takes, so that where rounds are long, limits have as many samples in as many kinds of weather as contenders.
const ROUNDS_PER_SAMPLE: usize = 4;
const SAMPLE_DUE: Duration = Duration::from_millis(300);
/// Fewest and most rounds of a measurement by time.
const MIN_ROUNDS: usize = 5;
const MAX_ROUNDS: usize = 10_000;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// After so many rounds.
    Rounds(u32),
    /// After the round in which this time is over.
    Time(Duration),
}

impl Budget {
    fn is_spent(self, rounds: usize, elapsed: Duration) -> bool {
        match self {
            Budget::Rounds(wanted) => rounds >= wanted as usize,
            Budget::Time(wanted) => rounds >= MAX_ROUNDS || (rounds >= MIN_ROUNDS && elapsed >= wanted),
        }
    }
}

/// What the rounds gave.
pub(crate) struct Measured {
    /// Of each contender, the median time of one call.
    pub(crate) seconds: Vec<f64>,
    /// How many rounds there were.
    pub(crate) rounds: usize,
    /// Samples of the limits.
    pub(crate) limits: Vec<Limits>,
}

/// Measures contenders together, each on its inputs.
///
/// # Errors
/// If the inputs do not fit a kernel.
pub(crate) fn measure(
    contenders: &mut [(Cold, Rc<Vec<Input>>)],
    probe: &Probe,
    budget: Budget,
) -> Result<Measured, Vec<Diagnostic>> {
    let mut batches = Vec::new();
    for (cold, inputs) in contenders.iter_mut() {
        // The first call pays for scratch memory and page faults.
        cold.call(inputs, 1)?;
        let one = cold.call(inputs, 1)?.max(Duration::from_nanos(100));
        batches.push(BATCH.as_nanos().div_ceil(one.as_nanos()).clamp(1, 1 << 20) as u32);
    }
    let mut samples = vec![Vec::new(); contenders.len()];
    let start = Instant::now();
    let mut limits = vec![probe.limits()];
    let mut sampled = (0, Instant::now());
    let mut rounds = 0;
    while !budget.is_spent(rounds, start.elapsed()) {
        for turn in 0..contenders.len() {
            if rounds - sampled.0 >= ROUNDS_PER_SAMPLE || sampled.1.elapsed() >= SAMPLE_DUE {
                limits.push(probe.limits());
                sampled = (rounds, Instant::now());
            }
            // Nobody always follows the same neighbour.
            let i = (turn + rounds) % contenders.len();
            let (cold, inputs) = &mut contenders[i];
            let elapsed = cold.call(inputs, batches[i])?;
            samples[i].push(elapsed.as_secs_f64() / f64::from(batches[i]));
        }
        rounds += 1;
    }
    limits.push(probe.limits());
    Ok(Measured { seconds: samples.into_iter().map(median).collect(), rounds, limits })
}

/// The middle of the samples; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    match n {
        0 => f64::NAN,
        _ => (samples[(n - 1) / 2] + samples[n / 2]) / 2.0,
    }
}

/// The median of each limit.
pub(crate) fn median_limits(samples: &[Limits]) -> JsonLimits {
    let of = |limit: fn(&Limits) -> f64| median(samples.iter().map(limit).collect());
    let amx = samples.first().and_then(|l| l.amx_gmacs).map(|_| of(|l| l.amx_gmacs.unwrap_or(f64::NAN)));
    JsonLimits {
        read_gbs: of(|l| l.read_gbs),
        int8_gmacs: of(|l| l.int8_gmacs),
        amx_gmacs: amx,
        f32_gmacs: of(|l| l.f32_gmacs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_budget_of_time_has_its_least_rounds() {
        let time = Budget::Time(Duration::from_secs(1));
        assert!(!time.is_spent(MIN_ROUNDS - 1, Duration::from_secs(9)));
        assert!(!time.is_spent(MIN_ROUNDS, Duration::from_millis(999)));
        assert!(time.is_spent(MIN_ROUNDS, Duration::from_secs(1)) && time.is_spent(MAX_ROUNDS, Duration::ZERO));
        assert!(
            Budget::Rounds(1).is_spent(1, Duration::ZERO) && !Budget::Rounds(2).is_spent(1, Duration::from_secs(9))
        );
    }
}

//! The pass table: names, rules and order. Timing and dumping are the observer's, since this
//! crate has no clock and no terminal.

use crate::diag::Diagnostic;
use crate::dim::Sizes;
use crate::graph::Kernel;
use crate::plan::{Plan, Request, plan};
use crate::rewrite::{Event, Rule, canonical, lowering, rewrite};
use crate::verify::verify;

/// A step from source graph to rewritten graph.
pub struct Pass {
    /// Its name in `--print-after`.
    pub name: &'static str,
    /// The rules offered to each node.
    pub rules: &'static [Rule],
    /// Whether the planner looks at the graph first, and the rules at its choices.
    pub planned: bool,
}

/// Every pass, in order.
pub const PASSES: &[Pass] = &[
    Pass { name: "canonical", rules: canonical::RULES, planned: false },
    Pass { name: "lower", rules: lowering::RULES, planned: true },
];

/// What happens around a pass.
pub trait Observer {
    /// A pass begins.
    fn before(&mut self, pass: &'static Pass);
    /// It ended with `kernel`, which it changed or not.
    fn after(&mut self, pass: &'static Pass, kernel: &Kernel, changed: bool);
}

/// A kernel after all passes.
pub struct Lowered {
    /// The graph that was planned for, in canonical form.
    pub canonical: Kernel,
    /// The rewritten graph.
    pub kernel: Kernel,
    /// What was decided at each site.
    pub plan: Plan,
    /// What the rules did; node indices are those of the graph the pass was given.
    pub events: Vec<Event>,
}

/// Runs every pass. The verifier runs after each in builds with debug assertions.
///
/// # Errors
/// If a tolerance cannot be met.
pub fn run(
    kernel: &Kernel,
    sizes: &Sizes,
    request: &Request,
    observer: &mut dyn Observer,
) -> Result<Lowered, Diagnostic> {
    let mut lowered =
        Lowered { canonical: kernel.clone(), kernel: kernel.clone(), plan: Plan::default(), events: Vec::new() };
    for pass in PASSES {
        observer.before(pass);
        if pass.planned {
            lowered.plan = plan(&lowered.kernel, sizes, request)?;
            lowered.canonical = lowered.kernel.clone();
        }
        let (next, events) = rewrite(&lowered.kernel, pass.rules, &lowered.plan.choices())?;
        if cfg!(debug_assertions) {
            verify(&next)?;
        }
        let changed = !next.same_graph(&lowered.kernel);
        lowered.events.extend(events);
        lowered.kernel = next;
        observer.after(pass, &lowered.kernel, changed);
    }
    Ok(lowered)
}

/// The rewritten graph of a plan for a target that multiplies integers of 16 bits as fast as bytes:
/// two digits of 8 bits become one of 16 (rule `recombine-int16`). Results are the same to the bit.
///
/// # Errors
/// Only if a rule builds an ill-typed graph, which is a fault of ours.
pub fn recombined(canonical: &Kernel, plan: &Plan) -> Result<(Kernel, Vec<Event>), Diagnostic> {
    let mut choices = plan.choices();
    choices.values_mut().for_each(|c| c.recombine = true);
    rewrite(canonical, lowering::RULES, &choices)
}

//! `msd explain`: for each use of a dequantized weight, what is done, why, with which certified
//! error, and what the alternatives would have cost. Works without sizes, which then are open. The
//! account is the library's.

use msd::{Explanation, Rewritten};

use crate::inputs::{dims, sizes};
use crate::kernel_args::{ExplainArgs, Target};
use crate::npu;
use crate::origin::Fault;
use crate::report::{Body, Outcome, site};
use crate::request::{self, Subject};

/// Explains the kernel's plan.
pub(crate) fn run(args: &ExplainArgs) -> Outcome {
    explain(args).unwrap_or_else(Outcome::failure)
}

fn explain(args: &ExplainArgs) -> Result<Outcome, Vec<Fault>> {
    let subject = Subject::read(&args.plan)?;
    let dims = dims::single(&args.plan.dims).map_err(|d| subject.faults(vec![d]))?;
    sizes::check(&subject.kernel, &dims).map_err(|d| subject.faults(d))?;
    let options = request::options(&args.plan, args.threads.threads);
    let rewritten = Rewritten::new(&subject.kernel, &dims, &options).map_err(|d| subject.faults(vec![d]))?;
    let explanation = rewritten.explain(&options);
    let npu = match &args.plan.target {
        Target::Chip(name) => Some(npu::predict::predict(&subject, &dims, &npu::chip(name)?, &options)?),
        Target::Cpu | Target::Reference => None,
    };
    // What holds for the target comes first; the account of this machine's plan follows.
    let mut text: String = npu.iter().map(|prediction| prediction.text() + "\non this machine: ").collect();
    text += &explanation.with_places(|span| subject.source.locate(span)).to_string();
    let Explanation { kernel, lowering, scheme, profile, sites, results, .. } = explanation;
    let sites = site::json(sites, &subject.source);
    let results = results.into_iter().map(site::result).collect();
    Ok(Outcome::done(text, Body::Explain { kernel, lowering, scheme, profile, sites, results, npu }))
}

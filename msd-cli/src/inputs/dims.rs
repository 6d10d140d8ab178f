//! The sizes that `-D` sets. Owns sweeps and what may be given twice; whether inputs agree with
//! the sizes is [`super::resolve`]'s.

use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;

use super::syntax::DimFlag;

/// Most points of a sweep; beyond it a list is a slip of the finger.
const MAX_POINTS: usize = 4096;

/// The sizes of a command that executes once.
pub(crate) fn single(flags: &[DimFlag]) -> Result<Sizes, Diagnostic> {
    if let Some((name, list)) = flags.iter().flat_map(|f| &f.sizes).find(|(_, list)| list.len() > 1) {
        let message = format!("`-D {name}=…` lists {} sizes", list.len());
        return Err(
            Diagnostic::new(Code::BadUsage, message).help("a list of sizes sweeps in `msd bench` and `msd npu`")
        );
    }
    Ok(sweep(flags)?.into_iter().next().unwrap_or_default())
}

/// Every combination of the listed sizes, the last list fastest; one empty combination where
/// nothing is set.
pub(crate) fn sweep(flags: &[DimFlag]) -> Result<Vec<Sizes>, Diagnostic> {
    let lists: Vec<&(String, Vec<u64>)> = flags.iter().flat_map(|f| &f.sizes).collect();
    let mut points = vec![Sizes::new()];
    for (name, list) in lists {
        if let Some(former) = points.first().and_then(|p| p.get(name.as_str())) {
            let sizes: Vec<String> = list.iter().map(u64::to_string).collect();
            let message = format!("`-D {name}={former}` and `-D {name}={}` set the same dimension", sizes.join(","));
            return Err(Diagnostic::new(Code::BadUsage, message).help(format!("give `{name}` once")));
        }
        if points.len() * list.len() > MAX_POINTS {
            let message = format!("the sweep has more than {MAX_POINTS} points");
            return Err(Diagnostic::new(Code::BadUsage, message).help("shorten a list of sizes"));
        }
        points = points.iter().flat_map(|point| list.iter().map(|size| with(point, name, *size))).collect();
    }
    Ok(points)
}

fn with(point: &Sizes, name: &str, size: u64) -> Sizes {
    let mut point = point.clone();
    point.insert(name.into(), size);
    point
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn flags(texts: &[&str]) -> Vec<DimFlag> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn lists_combine() {
        let points = sweep(&flags(&["N=8,K=4", "M=1,2", "T=5,6"])).unwrap();
        let sizes: Vec<(u64, u64)> = points.iter().map(|p| (p["M"], p["T"])).collect();
        assert_eq!(sizes, [(1, 5), (1, 6), (2, 5), (2, 6)]);
        assert!(points.iter().all(|p| p["N"] == 8 && p["K"] == 4));
        assert_eq!(sweep(&[]).unwrap(), [Sizes::new()]);
    }

    #[test]
    fn a_dimension_is_set_once() {
        let error = sweep(&flags(&["N=8", "N=4,5"])).unwrap_err();
        assert_eq!(error.code, Code::BadUsage);
        assert!(error.message.contains("N=8") && error.message.contains("N=4,5"), "{error}");
    }

    #[test]
    fn only_sweeps_take_lists() {
        assert_eq!(single(&flags(&["M=1,2"])).unwrap_err().code, Code::BadUsage);
        assert_eq!(single(&flags(&["M=1,N=2"])).unwrap().len(), 2);
    }

    #[test]
    fn a_sweep_is_bounded() {
        let list = format!("{}1", "1,".repeat(99));
        let texts = [format!("A={list}"), format!("B={list}")];
        assert_eq!(sweep(&flags(&[&texts[0], &texts[1]])).unwrap_err().code, Code::BadUsage);
    }
}

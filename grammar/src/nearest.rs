//! The known name nearest to a mistyped one.

/// Longer names and longer lists than these are not compared: the comparison is quadratic, and
/// its result only a courtesy.
const MAX_LENGTH: usize = 40;
const MAX_CANDIDATES: usize = 200;

/// The candidate fewest edits away from `name`, if it is near enough to be a slip.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if name.len() > MAX_LENGTH {
        return None;
    }
    let slips = name.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|c| c.len() <= MAX_LENGTH && *c != name && c.len().abs_diff(name.len()) <= slips)
        .map(|c| (strsim::damerau_levenshtein(&name.to_lowercase(), &c.to_lowercase()), c))
        // Against a name of one letter everything is one edit away.
        .filter(|(edits, c)| *edits <= slips && *edits < name.chars().count().min(c.chars().count()))
        .min()
        .map(|(_, c)| c)
}

/// "did you mean `x`?", or `otherwise`.
pub(crate) fn suggestion<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    otherwise: impl Into<String>,
) -> String {
    nearest(name, candidates).map_or_else(|| otherwise.into(), |c| format!("did you mean `{c}`?"))
}

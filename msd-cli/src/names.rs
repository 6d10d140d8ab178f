//! Unknown names: the nearest known one. Owns what counts as near.

/// Longer names are not compared, as that is quadratic and its result only a courtesy.
const MAX_LENGTH: usize = 64;

/// The candidate a slip of the finger away from `name`, if there is one: at most a third of its
/// letters wrong, missing, too many or swapped; upper and lower case count as near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |c: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &c.to_lowercase());
    let allowed = (name.chars().count() / 3).max(1);
    let candidates = candidates.into_iter().filter(|c| name.len().max(c.len()) <= MAX_LENGTH);
    let near = candidates.map(|c| (distance(c), c)).filter(|(d, _)| *d <= allowed);
    near.min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Help for an unknown name: the nearest known one, else all of them.
pub(crate) fn help<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    // More than this is a list nobody reads.
    const SHOWN: usize = 20;
    if let Some(near) = nearest(name, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<String> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    match known.len() {
        0 => "there are none".to_owned(),
        n if n > SHOWN => format!("known are {} and {} more", known[..SHOWN].join(", "), n - SHOWN),
        _ => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_a_slip_of_the_finger() {
        assert_eq!(nearest("linaer", ["grouped", "linear"]), Some("linear"));
        assert_eq!(nearest("x", ["W", "X"]), Some("X"));
        assert_eq!(nearest("weights", ["x", "bias"]), None);
        // A single letter is one slip from any other single letter; longer names are not.
        assert_eq!(nearest("attention", ["retention"]), Some("retention"));
        assert_eq!(nearest("attention", ["linear"]), None);
    }

    #[test]
    fn help_lists_what_is_known_when_nothing_is_near() {
        assert_eq!(help("weights", ["x", "bias"]), "known are `x`, `bias`");
        assert_eq!(help("weights", []), "there are none");
    }
}

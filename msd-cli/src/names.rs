//! Unknown names of the command line: help with the nearest known one, or with what is known. What
//! counts as near is the grammar's.

use msd::grammar::nearest::nearest;

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

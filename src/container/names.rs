//! Names of containers: valid ones, and made-up ones.

use std::hash::{BuildHasher, RandomState};

use crate::error::{Error, Result};

/// How long a name may be, in bytes.
const LONGEST: usize = 128;

/// Adjectives of made-up names.
const LIKE: [&str; 48] = [
    "airy",
    "amber",
    "ancient",
    "bare",
    "bent",
    "bold",
    "bright",
    "broad",
    "calm",
    "copper",
    "crooked",
    "dappled",
    "deep",
    "dense",
    "dusky",
    "early",
    "evergreen",
    "fragrant",
    "gentle",
    "gnarled",
    "golden",
    "hardy",
    "hollow",
    "knotty",
    "late",
    "leafy",
    "lofty",
    "mossy",
    "noble",
    "old",
    "pale",
    "quiet",
    "ragged",
    "red",
    "resinous",
    "rustling",
    "shady",
    "silver",
    "slender",
    "slow",
    "smooth",
    "sturdy",
    "sunny",
    "supple",
    "tall",
    "twisted",
    "white",
    "wild",
];
/// Trees.
const TREES: [&str; 48] = [
    "acacia", "alder", "almond", "apple", "aspen", "banyan", "baobab", "beech", "birch", "boxwood", "cedar",
    "cherry", "chestnut", "cypress", "dogwood", "ebony", "elder", "elm", "fig", "fir", "ginkgo", "hazel",
    "hemlock", "hickory", "holly", "hornbeam", "juniper", "larch", "laurel", "linden", "magnolia",
    "mahogany", "maple", "medlar", "mulberry", "oak", "olive", "pear", "pine", "plane", "poplar", "quince",
    "rowan", "sequoia", "spruce", "walnut", "willow", "yew",
];

/// Checks a name that a user gives: letters, digits, `_`, `.` and `-`, the first one a letter or a digit, as Docker has it.
pub(super) fn check(name: &str) -> Result<()> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= LONGEST && name.bytes().all(inside) {
        return Ok(());
    }
    let message =
        format!("a name has 1 to {LONGEST} letters, digits, _ . - and begins with a letter or a digit");
    Err(Error::invalid("name container", message).with_path(name))
}

/// Makes up a name that is not among those that `taken` is true of.
pub(super) fn generate(taken: impl Fn(&str) -> bool) -> String {
    for turn in 0u64.. {
        let random = RandomState::new().hash_one((std::process::id(), turn));
        let (like, tree) = (LIKE[random as usize % LIKE.len()], TREES[(random >> 16) as usize % TREES.len()]);
        let name = match turn {
            0..100 => format!("{like}_{tree}"),
            _ => format!("{like}_{tree}{}", random >> 48),
        };
        if !taken(&name) {
            return name;
        }
    }
    unreachable!("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for name in ["box", "a", "0.b_c-d", "x..y"] {
            check(name).unwrap();
        }
        for name in ["", ".", "..", "../x", "a/b", "-x", "_x", "a b", "a\0", "é", "a\n", &"x".repeat(129)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn made_up_names_are_good_and_new() {
        let name = generate(|_| false);
        check(&name).unwrap();
        let mut left = 200;
        let tries = std::cell::Cell::new(0);
        let other = generate(|_| {
            tries.set(tries.get() + 1);
            left > tries.get()
        });
        check(&other).unwrap();
        left = 0;
        assert_eq!(left, 0);
        assert!(tries.get() >= 200 && other.bytes().last().unwrap().is_ascii_digit(), "{other}");
    }
}

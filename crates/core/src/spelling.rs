//! Which word a mistaken one may stand for.

/// Returns the known word most like a mistaken one, in whatever case, if one is alike.
///
/// ```
/// use stepwell_core::spelling::nearest;
/// let known = ["timeout", "retry", "needs"];
/// assert_eq!(nearest("tiemout", known), Some("timeout"));
/// assert_eq!(nearest("colour", known), None);
/// ```
pub fn nearest<'k>(mistaken: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = mistaken.chars().count();
    let allowed = (length / 3).max(1) + 1;
    // Words that differ so much in length need no closer look.
    let near = known.into_iter().filter(|word| word.chars().count().abs_diff(length) <= allowed);
    let scored = near.map(|word| (distance(&mistaken.to_lowercase(), &word.to_lowercase()), word));
    // Words that have nothing in common are not alike, however short they are.
    let alike = |(score, _): &(usize, &str)| *score <= allowed && *score < length;
    scored.min_by_key(|(score, _)| *score).filter(alike).map(|(_, word)| word)
}

/// Returns the Levenshtein distance of two short names.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

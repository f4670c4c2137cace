//! "Did you mean": the nearest of a few words.

/// The candidate that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    if folded.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&folded, &fold(candidate))?, candidate)))
        .filter(|(distance, candidate)| *distance <= allowed(candidate.len().min(folded.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The most that [`allowed`] allows.
const DISTANCE_MAX: usize = 3;

/// Mistakes that a word of this length may have.
fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => DISTANCE_MAX,
    }
}

/// `time_to_live`, `time-to-live` and `TimeToLive` are the same word.
fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`; `None`: more than [`DISTANCE_MAX`]. Whoever wrote
/// the file chose both words and how many there are, so what cannot come out is not worked out: of the table only what
/// lies so near to its diagonal, and no row behind one that is too far all along.
fn distance(a: &[char], b: &[char]) -> Option<usize> {
    const FAR: usize = DISTANCE_MAX + 1;
    if a.len().abs_diff(b.len()) > DISTANCE_MAX {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).map(|j| j.min(FAR)).collect();
    for i in 1..=a.len() {
        let mut row = vec![FAR; b.len() + 1];
        row[0] = i.min(FAR);
        let mut nearest = row[0];
        for j in i.saturating_sub(DISTANCE_MAX).max(1)..=(i + DISTANCE_MAX).min(b.len()) {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best.min(FAR);
            nearest = nearest.min(row[j]);
        }
        // A swap reaches over one row, from one that was no nearer than this.
        if nearest == FAR && above.iter().all(|edits| *edits == FAR) {
            return None;
        }
        before = std::mem::replace(&mut above, row);
    }
    Some(above[b.len()]).filter(|edits| *edits <= DISTANCE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_other_spellings_but_not_anything() {
        let keys = ["congestionControl", "noDelay", "fastOpen", "mode"];
        assert_eq!(nearest("congestion_control", keys), Some("congestionControl"));
        assert_eq!(nearest("nodleay", keys), Some("noDelay"));
        assert_eq!(nearest("moode", keys), Some("mode"));
        assert_eq!(nearest("zebra", keys), None);
        assert_eq!(nearest("", keys), None);
    }

    /// The whole table, nothing left out.
    fn in_full(a: &[char], b: &[char]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                if i == 0 || j == 0 {
                    table[i][j] = i + j;
                    continue;
                }
                let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[i - 2][j - 2] + 1);
                }
                table[i][j] = best;
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn what_is_left_out_of_the_table_changes_nothing() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for round in 0..20_000 {
            let letters = 2 + random(3);
            let mut word = |length: u32| -> Vec<char> {
                let letter = |_| char::from_u32(97 + random(letters)).unwrap();
                (0..length).map(letter).collect()
            };
            let (a, b) = (word(round % 9), word(round / 9 % 9));
            let full = Some(in_full(&a, &b)).filter(|edits| *edits <= DISTANCE_MAX);
            assert_eq!(distance(&a, &b), full, "{a:?} {b:?}");
        }
    }
}

//! Embeddings, and how near they are to a cue.
//!
//! Invariant: one pair of vectors has one score, whatever else is computed: sums run in a fixed order.
//!
//! Leaves out: ranking.

use serde_json::Value;

/// How nearness is measured; higher is nearer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Metric {
    #[default]
    Cosine,
    Dot,
    /// The negated squared distance.
    L2,
}

impl Metric {
    pub fn of(name: &str) -> Result<Metric, String> {
        match name {
            "cosine" => Ok(Metric::Cosine),
            "dot" => Ok(Metric::Dot),
            "l2" => Ok(Metric::L2),
            other => Err(format!("{other:?} is no metric; there are \"cosine\", \"dot\" and \"l2\"")),
        }
    }
}

/// Vectors of one length, one after another.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    dim: usize,
    components: Vec<f32>,
    squares: Vec<f32>,
}

impl Matrix {
    /// Adds a vector; its number.
    pub fn push(&mut self, vector: &[f32]) -> Result<usize, String> {
        self.fits(vector)?;
        self.dim = vector.len();
        self.components.extend_from_slice(vector);
        self.squares.push(dot(vector, vector));
        Ok(self.squares.len() - 1)
    }

    /// Whether a vector has the length of those that are there.
    pub fn fits(&self, vector: &[f32]) -> Result<(), String> {
        match self.squares.is_empty() || self.dim == vector.len() {
            true => Ok(()),
            false => Err(format!("a vector of {} components among those of {}", vector.len(), self.dim)),
        }
    }

    pub fn get(&self, number: usize) -> &[f32] {
        &self.components[number * self.dim..(number + 1) * self.dim]
    }

    /// How near vector `number` is, and the scale of the error of that.
    pub fn score(&self, metric: Metric, number: usize, cue: &[f32], cue_square: f32) -> (f32, f32) {
        let (product, square) = (dot(self.get(number), cue), self.squares[number]);
        let lengths = (square * cue_square).sqrt();
        match metric {
            Metric::Cosine if lengths > 0.0 => (product / lengths, 1.0),
            Metric::Cosine => (0.0, 1.0),
            Metric::Dot => (product, lengths.max(f32::MIN_POSITIVE)),
            Metric::L2 => {
                (-(square + cue_square - 2.0 * product).max(0.0), (square + cue_square).max(f32::MIN_POSITIVE))
            }
        }
    }
}

/// The product of two vectors, in eight sums that are added up at last.
pub(super) fn dot(one: &[f32], two: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (one, two) = (one.chunks_exact(8), two.chunks_exact(8));
    let rest: f32 = one.remainder().iter().zip(two.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in one.zip(two) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Reads an embedding: an array of numbers, or hexadecimal digits of little-endian `f32`s.
pub(super) fn vector(value: &Value) -> Result<Vec<f32>, String> {
    let vector: Vec<f32> = match value {
        Value::Array(items) => {
            let number = |item: &Value| item.as_f64().map(|number| number as f32).ok_or(format!("{item} is no number"));
            items.iter().map(number).collect::<Result<_, _>>()?
        }
        Value::String(digits) => hexadecimal(digits)?,
        _ => return Err("an embedding is an array of numbers or a string of hexadecimal digits".into()),
    };
    match dot(&vector, &vector).is_finite() {
        true if !vector.is_empty() => Ok(vector),
        true => Err("an embedding without components".into()),
        false => Err("an embedding whose length is not a finite f32".into()),
    }
}

fn hexadecimal(digits: &str) -> Result<Vec<f32>, String> {
    let wrong = || "the hexadecimal form of an embedding has eight digits a component".to_string();
    if !digits.len().is_multiple_of(8) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let component = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        let bits = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        Ok(f32::from_bits(bits.swap_bytes()))
    };
    digits.as_bytes().chunks_exact(8).map(component).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_an_embedding_are_the_same_vector() {
        assert_eq!(vector(&json!("0000803f000000c0")), Ok(vec![1.0, -2.0]));
        assert_eq!(vector(&json!([1, -2.0])), Ok(vec![1.0, -2.0]));
        assert!(vector(&json!("0000803")).is_err() && vector(&json!([])).is_err() && vector(&json!("éé")).is_err());
        assert!(vector(&json!("0000c07f")).expect_err("not a number").contains("finite"));
    }

    #[test]
    fn scores_are_higher_for_what_is_nearer() {
        let mut matrix = Matrix::default();
        for vector in [[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]] {
            matrix.push(&vector).expect("fits");
        }
        let score = |metric, number| matrix.score(metric, number, &[2.0, 0.0], 4.0).0;
        assert_eq!([0, 2].map(|number| score(Metric::Cosine, number)), [1.0, 0.0]);
        assert_eq!([0, 1].map(|number| score(Metric::Dot, number)), [2.0, 2.0]);
        assert_eq!([0, 1, 2].map(|number| score(Metric::L2, number)), [-1.0, -2.0, -8.0]);
        assert!(matrix.push(&[1.0]).is_err());
    }
}

//! numpy's array format, as far as vectors need it: two dimensions, C order, little-endian f16 or f32.
//!
//! Everything in the file is checked before it is believed; an error names what is wrong and what to write instead.
//! Leaves out: arrays larger than memory.

use engram_client::Precision;
use engram_proto::observation::load;
use std::borrow::Cow;

const MAGIC: &[u8] = b"\x93NUMPY";
/// A header of a two-dimensional array has about 100 bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const HINT: &str = "save it with numpy.save(name, array.astype('float16')) or 'float32', as rows by columns";

/// The numbers of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `<f2`
    F16,
    /// `<f4`
    F32,
    /// `<i4`
    I32,
}

impl Number {
    fn width(self) -> usize {
        if self == Self::F16 { 2 } else { 4 }
    }
}

/// What an array's header says, checked against the file's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Type of the numbers.
    pub number: Number,
    /// Rows.
    pub rows: usize,
    /// Numbers a row.
    pub columns: usize,
    /// Bytes before the first number.
    pub start: usize,
}

impl Layout {
    /// Bytes that hold any header that is read.
    pub const HEAD_BYTES: usize = HEADER_BYTES_MAX + 12;

    /// Reads a header; `head` is the file's beginning, `len` the length of the whole.
    pub fn parse(head: &[u8], len: usize) -> Result<Self, String> {
        let (header, start) = header(head)?;
        let number = match value(header, "descr")?.trim_matches(['\'', '"']) {
            "<f2" => Number::F16,
            "<f4" => Number::F32,
            "<i4" => Number::I32,
            other => return Err(format!("numbers of type {other}, not <f2 or <f4; {HINT}")),
        };
        if value(header, "fortran_order")? != "False" {
            return Err(format!("columns first (fortran_order); {HINT}"));
        }
        let shape = value(header, "shape")?;
        let sizes: Option<Vec<usize>> = shape
            .trim_matches(['(', ')'])
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .collect();
        let Some([rows, columns]) = sizes.as_deref() else { return Err(format!("shape {shape}; {HINT}")) };
        let (rows, columns) = (*rows, *columns);
        let wanted = rows.checked_mul(columns).and_then(|count| count.checked_mul(number.width()));
        let there = len.saturating_sub(start);
        if wanted != Some(there) {
            return Err(format!(
                "shape {shape} does not fit the {there} bytes that follow; the file is cut or damaged"
            ));
        }
        Ok(Self { number, rows, columns, start })
    }

    /// The header of an array that is to be written, up to the first number.
    pub fn header(number: Number, rows: usize, columns: usize) -> Vec<u8> {
        let descr = match number {
            Number::F16 => "<f2",
            Number::F32 => "<f4",
            Number::I32 => "<i4",
        };
        let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        // Readers map the numbers into memory: they begin at a multiple of 64.
        let len = (10 + dict.len() + 1).next_multiple_of(64) - 10;
        let mut bytes = [MAGIC, &[1, 0], &(len as u16).to_le_bytes()].concat();
        bytes.extend(format!("{dict:<width$}\n", width = len - 1).as_bytes());
        bytes
    }
}

/// An array of vectors.
pub struct Npy {
    bytes: Cow<'static, [u8]>,
    data: usize,
    precision: Precision,
    rows: usize,
    dim: usize,
}

impl Npy {
    /// Reads the header and checks the length.
    pub fn parse(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, String> {
        let bytes = bytes.into();
        let layout = Layout::parse(&bytes, bytes.len())?;
        let precision = match layout.number {
            Number::F16 => Precision::F16,
            Number::F32 => Precision::F32,
            Number::I32 => return Err(format!("numbers of type <i4, not <f2 or <f4; {HINT}")),
        };
        Ok(Self { bytes, data: layout.start, precision, rows: layout.rows, dim: layout.columns })
    }

    /// How many vectors.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One vector; `None` past the end.
    pub fn row(&self, row: usize) -> Option<Vec<f32>> {
        if row >= self.rows {
            return None;
        }
        let width = if self.precision == Precision::F16 { 2 } else { 4 };
        let bytes = self.dim * width;
        let stored = &self.bytes[self.data + row * bytes..][..bytes];
        let mut vector = vec![0.0; self.dim];
        load(stored, self.precision, &mut vector).then_some(vector)
    }
}

/// The header's dictionary and where the numbers begin.
fn header(bytes: &[u8]) -> Result<(&str, usize), String> {
    let cut = || "the file ends within its header".to_string();
    if bytes.get(..6) != Some(MAGIC) {
        return Err(format!("no .npy file: it does not begin with \\x93NUMPY; {HINT}"));
    }
    let (len, start) = match bytes.get(6) {
        Some(1) => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
        Some(2 | 3) => (bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize), 12),
        Some(other) => return Err(format!("version {other} of the format; 1 to 3 are known")),
        None => return Err(cut()),
    };
    let len = len.ok_or_else(cut)?;
    if len > HEADER_BYTES_MAX {
        return Err(format!("a header of {len} bytes; the file is damaged"));
    }
    let header = bytes.get(start..start + len).ok_or_else(cut)?;
    let header =
        std::str::from_utf8(header).map_err(|_| "a header that is no text; the file is damaged".to_string())?;
    Ok((header, start + len))
}

/// One value of the dictionary, as written.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("a header without {key}; {HINT}");
    let at = header.find(&format!("'{key}':")).ok_or_else(missing)?;
    let rest = header[at + key.len() + 3..].trim_start();
    let end = match rest.starts_with('(') {
        true => rest.find(')').map(|at| at + 1),
        false => rest.find([',', '}']),
    };
    Ok(rest[..end.ok_or_else(missing)?].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    const GOOD: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n";

    #[test]
    fn rows_come_back() {
        let data: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let npy = Npy::parse(file(GOOD, &data)).expect("valid");
        assert_eq!((npy.rows(), npy.dim), (2, 1));
        assert_eq!((npy.row(1), npy.row(2)), (Some(vec![-2.0]), None));
        let half = Npy::parse(file(&GOOD.replace("<f4", "<f2"), &[0, 0x3c, 0, 0xc0])).expect("valid");
        assert_eq!(half.row(1), Some(vec![-2.0]));
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut file = Layout::header(Number::I32, 3, 100);
        assert!(file.len().is_multiple_of(64) && file.ends_with(b"\n"));
        let start = file.len();
        file.resize(start + 3 * 100 * 4, 0);
        let layout = Layout { number: Number::I32, rows: 3, columns: 100, start };
        assert_eq!(Layout::parse(&file[..start], file.len()), Ok(layout));
        assert!(Npy::parse(file).is_err_and(|error| error.contains("<i4")), "indices are no vectors");
    }

    #[test]
    fn no_cut_and_no_flipped_byte_makes_it_panic() {
        let whole = file(GOOD, &[0; 8]);
        for end in 0..whole.len() {
            assert!(Npy::parse(whole[..end].to_vec()).is_err(), "{end} bytes");
        }
        for at in 0..whole.len() {
            for flip in [1, 4, 128, 255] {
                let mut bad = whole.clone();
                bad[at] ^= flip;
                if let Ok(npy) = Npy::parse(bad) {
                    drop(npy.row(npy.rows().saturating_sub(1)));
                }
            }
        }
    }

    #[test]
    fn faults_are_named() {
        let says = |bytes: Vec<u8>, word: &str| {
            let error = Npy::parse(bytes).err().expect("refused");
            assert!(error.contains(word), "{error}");
        };
        says(b"PK\x03\x04".to_vec(), "no .npy file");
        says(file(&GOOD.replace("<f4", "<f8"), &[0; 16]), "<f8");
        says(file(&GOOD.replace("False", "True"), &[0; 8]), "fortran_order");
        says(file(&GOOD.replace("(2, 1)", "(2,)"), &[0; 8]), "shape (2,)");
        says(file(GOOD, &[0; 7]), "does not fit");
    }
}

//! The shape of a matrix that the NIC transposes.

/// A matrix in memory, row after row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Bytes of an element.
    pub element: u8,
    /// Elements of a row.
    pub columns: u8,
    /// Rows.
    pub rows: u8,
}

impl Matrix {
    /// Bytes of all elements.
    pub const fn bytes(self) -> u32 {
        self.element as u32 * self.columns as u32 * self.rows as u32
    }

    /// The transposed one.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self {
            columns: self.rows,
            rows: self.columns,
            ..self
        }
    }

    /// As it lies in an entry.
    pub const fn to_bits(self) -> u64 {
        (self.element as u64) << 16 | (self.columns as u64) << 8 | self.rows as u64
    }

    /// What lies in an entry; bits that mean nothing are not looked at.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            element: (bits >> 16) as u8,
            columns: (bits >> 8) as u8,
            rows: bits as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_comes_back_as_it_was_written() {
        let matrix = Matrix {
            element: 8,
            columns: 3,
            rows: 255,
        };
        assert_eq!(matrix.to_bits(), 0x08_03ff);
        assert_eq!(Matrix::from_bits(matrix.to_bits() | 0xff << 56), matrix);
        assert_eq!(matrix.bytes(), 6120);
        assert_eq!(matrix.transposed().transposed(), matrix);
    }
}

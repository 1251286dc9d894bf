//! The places from which an event is used.

use core::fmt;
use core::ops::BitOr;

/// A place from which an event is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Location {
    /// The host program.
    Host = 1,
    /// Kernels, and launches with their conditions and completions.
    Device = 2,
    /// Another node, by RDMA.
    Remote = 4,
}

impl Location {
    /// All places.
    pub const ALL: [Self; 3] = [Self::Host, Self::Device, Self::Remote];

    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Device => "device",
            Self::Remote => "remote",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of places: `Location::Host | Location::Device`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LocationSet(u8);

impl LocationSet {
    /// No place.
    pub const NONE: Self = Self(0);

    /// The set of this one place.
    pub const fn of(location: Location) -> Self {
        Self(location as u8)
    }

    /// The set with one place more.
    pub const fn with(self, location: Location) -> Self {
        Self(self.0 | location as u8)
    }

    /// Whether the place is in the set.
    pub const fn contains(self, location: Location) -> bool {
        self.0 & location as u8 != 0
    }

    /// Whether no place is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The places, in the order of [`Location::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Location> {
        Location::ALL.into_iter().filter(move |&l| self.contains(l))
    }
}

impl From<Location> for LocationSet {
    fn from(location: Location) -> Self {
        Self::of(location)
    }
}

impl<T: Into<LocationSet>> BitOr<T> for LocationSet {
    type Output = Self;
    fn bitor(self, other: T) -> Self {
        Self(self.0 | other.into().0)
    }
}

impl<T: Into<LocationSet>> BitOr<T> for Location {
    type Output = LocationSet;
    fn bitor(self, other: T) -> LocationSet {
        LocationSet::of(self) | other
    }
}

impl FromIterator<Location> for LocationSet {
    fn from_iter<I: IntoIterator<Item = Location>>(places: I) -> Self {
        places.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for LocationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocationSet({self})")
    }
}

impl fmt::Display for LocationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nobody");
        }
        for (i, place) in self.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            f.write_str(place.name())?;
        }
        Ok(())
    }
}

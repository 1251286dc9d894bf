//! Who may publish an event and who may wait for it.

pub use dpa_abi::location::{Location, LocationSet};

/// The publishers and subscribers of an event. Having one proves that both are named and that no subscriber is
/// remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "doca_sync_event_add_publisher_location_cpu")]
#[doc(alias = "doca_sync_event_add_subscriber_location_dpa")]
pub struct Locations {
    publishers: LocationSet,
    subscribers: LocationSet,
}

/// Why publishers and subscribers make no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LocationsError {
    /// A remote node publishes to an event, it cannot wait for one.
    #[error(
        "a subscriber cannot be remote: publishers are {publishers}, subscribers {subscribers}"
    )]
    RemoteSubscriber {
        /// The publishers asked for.
        publishers: LocationSet,
        /// The subscribers asked for.
        subscribers: LocationSet,
    },
    /// Nobody could ever update the event.
    #[error("an event needs a publisher; its subscribers are {subscribers}")]
    NoPublisher {
        /// The subscribers asked for.
        subscribers: LocationSet,
    },
    /// Nobody could ever wait for the event.
    #[error("an event needs a subscriber; its publishers are {publishers}")]
    NoSubscriber {
        /// The publishers asked for.
        publishers: LocationSet,
    },
}

/// An update from a place that is no publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{place} is not a publisher of this event (publishers: {allowed})")]
pub struct NotPublisher {
    /// Where the update came from.
    pub place: Location,
    /// Who publishes.
    pub allowed: LocationSet,
}

/// A wait from a place that is no subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{place} is not a subscriber of this event (subscribers: {allowed})")]
pub struct NotSubscriber {
    /// Where the wait came from.
    pub place: Location,
    /// Who subscribes.
    pub allowed: LocationSet,
}

impl Locations {
    /// The host publishes, the device waits.
    pub const HOST_TO_DEVICE: Self = Self::one_each(Location::Host, Location::Device);
    /// The device publishes, the host waits.
    pub const DEVICE_TO_HOST: Self = Self::one_each(Location::Device, Location::Host);
    /// The device publishes and waits.
    pub const DEVICE_TO_DEVICE: Self = Self::one_each(Location::Device, Location::Device);
    /// The host publishes and waits.
    pub const HOST_TO_HOST: Self = Self::one_each(Location::Host, Location::Host);
    /// Another node publishes, the device waits.
    pub const REMOTE_TO_DEVICE: Self = Self::one_each(Location::Remote, Location::Device);
    /// Another node publishes, the host waits.
    pub const REMOTE_TO_HOST: Self = Self::one_each(Location::Remote, Location::Host);

    const fn one_each(publisher: Location, subscriber: Location) -> Self {
        Self {
            publishers: LocationSet::of(publisher),
            subscribers: LocationSet::of(subscriber),
        }
    }

    /// These publishers and subscribers.
    ///
    /// # Errors
    ///
    /// A side is empty, or a subscriber is remote.
    pub fn new(
        publishers: impl Into<LocationSet>,
        subscribers: impl Into<LocationSet>,
    ) -> Result<Self, LocationsError> {
        let (publishers, subscribers) = (publishers.into(), subscribers.into());
        if subscribers.contains(Location::Remote) {
            return Err(LocationsError::RemoteSubscriber {
                publishers,
                subscribers,
            });
        }
        if publishers.is_empty() {
            return Err(LocationsError::NoPublisher { subscribers });
        }
        if subscribers.is_empty() {
            return Err(LocationsError::NoSubscriber { publishers });
        }
        Ok(Self {
            publishers,
            subscribers,
        })
    }

    /// Who may update.
    pub const fn publishers(self) -> LocationSet {
        self.publishers
    }

    /// Who may wait.
    pub const fn subscribers(self) -> LocationSet {
        self.subscribers
    }

    /// Whether an update may come from `place`.
    ///
    /// # Errors
    ///
    /// It may not; the error names the place and the publishers.
    #[inline]
    pub const fn check_publish(self, place: Location) -> Result<(), NotPublisher> {
        let allowed = self.publishers;
        if allowed.contains(place) {
            Ok(())
        } else {
            Err(NotPublisher { place, allowed })
        }
    }

    /// Whether a wait may come from `place`.
    ///
    /// # Errors
    ///
    /// It may not; the error names the place and the subscribers.
    #[inline]
    pub const fn check_subscribe(self, place: Location) -> Result<(), NotSubscriber> {
        let allowed = self.subscribers;
        if allowed.contains(place) {
            Ok(())
        } else {
            Err(NotSubscriber { place, allowed })
        }
    }
}

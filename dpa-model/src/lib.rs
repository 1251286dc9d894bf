//! The software device: units, scheduler, heap, drivers

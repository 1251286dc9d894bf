//! The kernels of the examples, no_std

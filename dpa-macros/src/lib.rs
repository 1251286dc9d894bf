//! The attribute macros of kernels: dpa_kernel, dpa_rpc, and the derives Pod and Arg

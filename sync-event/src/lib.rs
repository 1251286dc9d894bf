//! The 64-bit sync event: conditions, waiters, host waits, gates

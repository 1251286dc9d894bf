//! The low layer on the host: device, process, memory, calls, launches, over one backend seam

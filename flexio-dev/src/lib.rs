//! Device side of the low layer: thread context, device port, views, fences

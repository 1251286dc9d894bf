//! What a kernel author sees: threads, views, events, collectives, logging

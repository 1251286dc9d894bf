//! Host programs: hello, pipeline, fan-out

//! Programs of others that move bytes between two processes over loopback, if they are installed (`--peers`).
//!
//! They cannot take turns with ours in slices: each runs once, right behind our rows. UCX's `ucx_perftest` puts over TCP,
//! which has the kernel's own transport below it, not RoCE.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::LARGE;
use crate::row::Row;

const PROGRAM: &str = "ucx_perftest";
/// How long one test may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows of what is installed beside ours that were measured before; a line on what is not.
pub(crate) fn rows(ours: &[Row]) -> Vec<Row> {
    let tests = [
        ("ping-pong", "ucx-put-latency", "ucp_put_lat", 8, 20_000),
        ("bandwidth", "ucx-put-bandwidth", "ucp_put_bw", LARGE, 500),
    ];
    let measured = tests
        .into_iter()
        .filter_map(|(ours_name, name, test, bytes, times)| {
            let ours = ours.iter().find(|row| row.name == ours_name)?;
            match run(test, bytes, times) {
                Ok(nanos) => Some(beside(ours, name, nanos, bytes)),
                Err(why) => {
                    eprintln!("dpa-bench: {name}: skipped: {why}");
                    None
                }
            }
        });
    measured.collect()
}

fn beside(ours: &Row, name: &str, nanos: f64, bytes: usize) -> Row {
    // The bandwidth row is time per byte; UCX says time per message.
    let peer = match ours.name.as_str() {
        "bandwidth" => nanos / bytes as f64,
        _ => nanos,
    };
    let mut row = Row::new("rdma", name, ours.ours_ns, "reported");
    row.peer = Some("ucx_perftest, put over TCP".into());
    row.peer_ns = Some(peer);
    row.ratio = Some(ours.ours_ns / peer);
    row
}

/// Nanoseconds of one operation.
fn run(test: &str, bytes: usize, times: u32) -> Result<f64, String> {
    let port = free_port()?;
    let mut server = start(&[&format!("-p{port}")], Stdio::null())?;
    let result = wait_for(port).and_then(|()| {
        let (size, count) = (format!("-s{bytes}"), format!("-n{times}"));
        let to = format!("-p{port}");
        let client = start(
            &["127.0.0.1", &to, "-t", test, &size, &count],
            Stdio::piped(),
        )?;
        let text = output(client)?;
        overall(&text).ok_or_else(|| format!("{PROGRAM} printed no result: {text}"))
    });
    // It may be over already.
    let _ = server.kill();
    let _ = server.wait();
    result
}

fn start(arguments: &[&str], out: Stdio) -> Result<Child, String> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(out).stderr(Stdio::null());
    command.env("UCX_TLS", "tcp").env("UCX_NET_DEVICES", "lo");
    command
        .spawn()
        .map_err(|error| format!("{PROGRAM} could not be started: {error}"))
}

fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|error| format!("no port: {error}"))
}

/// Until the server listens. It serves the first who connects, so nobody may knock: its entry in the table is looked for.
fn wait_for(port: u16) -> Result<(), String> {
    let wanted = format!(":{port:04X} ");
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
        if tables.iter().flatten().any(|text| text.contains(&wanted)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("{PROGRAM} did not listen"))
}

fn output(mut child: Child) -> Result<String, String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(_)) => {
                let output = child.wait_with_output();
                return output
                    .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                    .map_err(|error| error.to_string());
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.to_string()),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("{PROGRAM} took longer than {PATIENCE:?}"))
}

/// The overall time of an operation, in nanoseconds: the fourth number of the line `Final:`, in microseconds.
fn overall(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Final:"))?;
    let micros: f64 = line.split_whitespace().nth(3)?.parse().ok()?;
    Some(micros * 1000.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_result_of_ucx_is_found() {
        let text =
            "| Stage |\nFinal:   20000   12.672   11.753   11.754   0.65  0.65  85085  85085\n";
        assert_eq!(super::overall(text), Some(11_754.0));
        assert_eq!(super::overall("nothing"), None);
    }
}

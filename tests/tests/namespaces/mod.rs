//! Network namespaces joined by veth pairs, and the programs in them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a program may run. Nodes give up by themselves before; this is for those that cannot.
const LIMIT: Duration = Duration::from_secs(120);

/// Of the packets that arrive, dropped before a socket sees them.
#[derive(Clone, Copy)]
pub struct Loss(pub &'static str);

/// What a node has counted.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Packets sent again, timeouts and gaps that made it do so.
    pub resent: u64,
    /// Requests and answers that came more than once.
    pub duplicates: u64,
    /// Packets whose ICRC was wrong.
    pub corrupt: u64,
    /// Packets that the kernel kept back because of their UDP checksum.
    pub mismatched: u64,
}

/// How long a link may take until it carries packets.
const CARRIES: Duration = Duration::from_secs(10);

/// Two namespaces for nodes, and perhaps a third between them.
pub struct Lab {
    names: [String; 3],
    middle_box: Option<Program>,
}

const ADDRESSES: [&str; 2] = ["10.78.0.1", "10.78.0.2"];

impl Lab {
    /// Builds it; why not, if that is not possible here.
    ///
    /// # Panics
    /// It is possible, and fails all the same: that is no reason to skip a test.
    pub fn build(name: &str, middle_box: bool) -> Result<Self, String> {
        possible()?;
        Ok(Self::raise(name, middle_box).expect("a network where one is possible"))
    }

    fn raise(name: &str, middle_box: bool) -> Result<Self, String> {
        let id = std::process::id();
        let names = ["a", "b", "m"].map(|end| format!("dpa-{id}-{name}-{end}"));
        let mut lab = Self {
            names,
            middle_box: None,
        };
        for name in lab.names.clone() {
            ip(&format!("netns add {name}"))?;
        }
        lab.wire(middle_box)?;
        if middle_box {
            lab.middle_box =
                Some(lab.start(2, env!("CARGO_BIN_EXE_middle-box"), &["m0", "m1", "1"])?);
            let ready = lab.middle_box.as_mut().map(Program::line);
            if ready.as_deref() != Some("ready") {
                return Err(format!("the middle box said {ready:?}"));
            }
        }
        Ok(lab)
    }

    /// Joins the ends: one pair, or one to the middle from each.
    fn wire(&self, middle_box: bool) -> Result<(), String> {
        let [a, b, m] = &self.names;
        if middle_box {
            ip(&format!(
                "link add n0 netns {a} type veth peer name m0 netns {m}"
            ))?;
            ip(&format!(
                "link add n0 netns {b} type veth peer name m1 netns {m}"
            ))?;
            ip(&format!("-n {m} link set m0 up"))?;
            ip(&format!("-n {m} link set m1 up"))?;
        } else {
            ip(&format!(
                "link add n0 netns {a} type veth peer name n0 netns {b}"
            ))?;
        }
        for (end, address) in [a, b].into_iter().zip(ADDRESSES) {
            ip(&format!("-n {end} addr add {address}/24 dev n0"))?;
            // One packet a frame: a middle box takes no larger ones.
            ip(&format!("-n {end} link set n0 gso_max_segs 1 up"))?;
            ip(&format!("-n {end} link set lo up"))?;
        }
        let ends = [(a, "n0"), (b, "n0"), (m, "m0"), (m, "m1")];
        let ends = &ends[..if middle_box { 4 } else { 2 }];
        ends.iter().try_for_each(|(end, link)| carries(end, link))
    }

    /// Loses this share of what arrives for the RoCE port at both ends.
    pub fn lose(&self, loss: Loss) {
        for end in &self.names[..2] {
            let rule = format!(
                "netns exec {end} iptables -A INPUT -p udp --dport 4791 -m statistic --mode random --probability {} -j DROP",
                loss.0
            );
            ip(&rule).expect("a rule");
        }
    }

    fn start(&self, end: usize, program: &str, arguments: &[&str]) -> Result<Program, String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[end], program]);
        Program::start(command.args(arguments))
    }

    /// Runs both nodes to their end and carries their lines to each other. `timeout`: that of their acknowledgements, in
    /// milliseconds.
    pub fn run(&mut self, retries: u32, timeout: u32) -> [Report; 2] {
        let node = env!("CARGO_BIN_EXE_netns-node");
        let (retries, timeout) = (retries.to_string(), timeout.to_string());
        let mut nodes = [0, 1].map(|end| {
            self.start(end, node, &[ADDRESSES[end], &retries, &timeout])
                .expect("a node")
        });
        loop {
            let lines = nodes.each_mut().map(Program::line);
            let reports = lines.each_ref().map(|line| report(line));
            let fine = |line: &&String| !line.is_empty() && !line.starts_with("failed");
            if !lines.iter().all(|line| fine(&line)) {
                let middle_box = self.middle_box.as_mut().map(Program::last_line);
                panic!("{lines:#?}; the middle box: {middle_box:?}");
            }
            let [a, b] = &mut nodes;
            a.tell(&lines[1]);
            b.tell(&lines[0]);
            if let [Some(ours), Some(theirs)] = reports {
                return [ours, theirs];
            }
        }
    }

    /// Packets that the middle box has lost, delayed, sent twice, corrupted, given a wrong checksum.
    pub fn middle_box_did(mut self) -> [u64; 5] {
        let line = self.middle_box.as_mut().expect("there is one").last_line();
        let counts: Vec<u64> = line.split(' ').map_while(|n| n.parse().ok()).collect();
        let all = counts.try_into();
        all.unwrap_or_else(|_| panic!("the middle box said `{line}`"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.middle_box = None;
        for name in &self.names {
            // Those that were never made are not there.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn report(line: &str) -> Option<Report> {
    let numbers = line.strip_prefix("done ")?;
    let mut numbers = numbers.split(' ').map_while(|n| n.parse().ok());
    Some(Report {
        resent: numbers.next()?,
        duplicates: numbers.next()?,
        corrupt: numbers.next()?,
        mismatched: numbers.next()?,
    })
}

/// A program that talks in lines. When it is dropped it is killed.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Program {
    fn start(command: &mut Command) -> Result<Self, String> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().map_err(|error| error.to_string())?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            input,
            lines: lines_of(output),
            deadline: Instant::now() + LIMIT,
        })
    }

    /// Its next line; empty if it has ended, a failure if it says nothing until its time is over.
    fn line(&mut self) -> String {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => String::new(),
            Err(RecvTimeoutError::Timeout) => format!("failed: still running after {LIMIT:?}"),
        }
    }

    /// What it says when it has nothing more to do.
    fn last_line(&mut self) -> String {
        self.input = None;
        self.line()
    }

    fn tell(&mut self, line: &str) {
        // If it has ended, its next line says so.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.input = None;
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program says, until it ends: the thread that reads it ends with it.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (said, lines) = channel();
    std::thread::spawn(move || {
        let all = BufReader::new(output).lines().map_while(Result::ok);
        // When nobody listens any more, the program is about to be killed.
        let _ = all
            .map(|line| line.trim().to_owned())
            .try_for_each(|line| said.send(line));
    });
    lines
}

/// Why it cannot be done here.
fn possible() -> Result<(), String> {
    let works = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let quiet = command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    if !works("ip", &["-V"]) {
        return Err("there is no `ip` (package iproute2)".into());
    }
    let probe = format!("dpa-{}-probe", std::process::id());
    let probe_name = format!("{probe}-{:?}", std::thread::current().id());
    let name: String = probe_name
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '-')
        .collect();
    if !works("ip", &["netns", "add", &name]) {
        return Err("no right to make a network namespace: run as root".into());
    }
    let rule = "-A INPUT -p udp -m statistic --mode random --probability 0.5 -j DROP";
    let mut arguments = vec!["netns", "exec", &name, "iptables"];
    arguments.extend(rule.split(' '));
    let loses = works("ip", &arguments);
    let pair = "link add p0 type veth peer name p1";
    let mut joined = vec!["-n", &name];
    joined.extend(pair.split(' '));
    let joins = works("ip", &joined);
    works("ip", &["netns", "del", &name]);
    match (joins, loses) {
        (true, true) => Ok(()),
        (false, _) => Err("this kernel makes no veth pairs".into()),
        (true, false) => Err("`iptables` with its match `statistic` does not work here".into()),
    }
}

/// Waits until this link of a namespace carries packets. The kernel sees to that behind the command that sets it up, and drops
/// what is sent before: also the answer to who has an address, which is asked for again after a second only.
fn carries(end: &str, link: &str) -> Result<(), String> {
    let until = Instant::now() + CARRIES;
    loop {
        let seen = ip_says(&format!("-n {end} -o link show {link}"))?;
        if seen.contains(" state UP ") {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!(
                "{link} carries nothing after {CARRIES:?}: `{}`",
                seen.trim()
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ip(words: &str) -> Result<(), String> {
    ip_says(words).map(drop)
}

fn ip_says(words: &str) -> Result<String, String> {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "`ip {words}`: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

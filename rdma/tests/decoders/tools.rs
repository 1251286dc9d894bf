//! The foreign programs: where they are, how they are called, what they print.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What tshark is asked for, in this order.
const FIELDS: [&str; 21] = [
    "ip.id",
    "infiniband.bth.opcode",
    "infiniband.bth.destqp",
    "infiniband.bth.psn",
    "infiniband.bth.padcnt",
    "infiniband.bth.a",
    "infiniband.reth.va",
    "infiniband.reth.r_key",
    "infiniband.reth.dmalen",
    "infiniband.atomiceth.swapdt",
    "infiniband.atomiceth.cmpdt",
    "infiniband.aeth.syndrome",
    "infiniband.aeth.msn",
    "infiniband.atomicacketh.origremdt",
    "infiniband.immdt",
    "infiniband.ieth",
    "_ws.malformed",
    "_ws.expert.message",
    "ip.checksum.status",
    "udp.checksum.status",
    "frame.protocols",
];
/// Checksums are shown as 1 where they are right.
const CHECKSUM_GOOD: &str = "1";

/// tshark, if it is here.
pub struct Tshark(String);

/// What tshark read out of a packet; `None` where it found no such header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub identification: Option<u64>,
    pub opcode: Option<u64>,
    pub destination: Option<u64>,
    pub psn: Option<u64>,
    pub pad: Option<u64>,
    pub ack_request: Option<u64>,
    /// Address and key: RETH and AtomicETH begin alike.
    pub remote: Option<(u64, u32)>,
    pub dma_length: Option<u64>,
    /// Swap or add, compare.
    pub atomic: Option<(u64, u64)>,
    /// Syndrome, message number.
    pub aeth: Option<(u8, u32)>,
    pub original: Option<u64>,
    pub immediate: Option<u32>,
    pub invalidate: Option<u32>,
    pub complaints: Vec<String>,
}

impl Tshark {
    /// `DPA_TSHARK`, or the one of the system.
    pub fn find() -> Option<Self> {
        find("DPA_TSHARK", "tshark", &["--version"]).map(Self)
    }

    /// A row for each packet of a capture.
    pub fn read(&self, capture: &[u8]) -> Vec<Row> {
        let file = Scratch::new(capture);
        let mut tshark = Command::new(&self.0);
        tshark.arg("-r").arg(file.path());
        // Its guess takes short sends for another protocol.
        tshark.args(["--disable-protocol", "rpcordma"]);
        tshark.args([
            "-o",
            "ip.check_checksum:TRUE",
            "-o",
            "udp.check_checksum:TRUE",
        ]);
        tshark.args(["-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]);
        tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
        printed(&mut tshark).lines().map(Row::parse).collect()
    }
}

impl Row {
    fn parse(line: &str) -> Self {
        let values: Vec<&str> = line.split('|').collect();
        assert_eq!(values.len(), FIELDS.len(), "{line}");
        let of = |field: &str| {
            let at = FIELDS.iter().position(|known| *known == field).unwrap();
            Some(values[at]).filter(|value| !value.is_empty())
        };
        let short = |field: &str| of(&format!("infiniband.{field}")).map(number);
        let bytes = |field: &str| of(&format!("infiniband.{field}")).map(from_bytes);
        let remote = || Some((short("reth.va")?, short("reth.r_key")? as u32));
        let atomic = || Some((short("atomiceth.swapdt")?, short("atomiceth.cmpdt")?));
        let aeth = || Some((short("aeth.syndrome")?, short("aeth.msn")?));
        Self {
            identification: of("ip.id").map(number),
            opcode: short("bth.opcode"),
            destination: short("bth.destqp"),
            psn: short("bth.psn"),
            pad: short("bth.padcnt"),
            ack_request: short("bth.a"),
            remote: remote(),
            dma_length: short("reth.dmalen"),
            atomic: atomic(),
            aeth: aeth().map(|(syndrome, msn)| (syndrome as u8, msn as u32)),
            original: short("atomicacketh.origremdt"),
            immediate: bytes("immdt"),
            invalidate: bytes("ieth"),
            complaints: complaints(of),
        }
    }

    /// Everything tshark finds fault with.
    pub fn complaints(&self) -> Vec<&str> {
        self.complaints.iter().map(String::as_str).collect()
    }
}

fn complaints<'a>(of: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let bad = |field: &str| of(field).filter(|status| *status != CHECKSUM_GOOD);
    let mut found = Vec::new();
    found.extend(of("_ws.malformed").map(|text| format!("malformed: {text}")));
    found.extend(of("_ws.expert.message").map(|text| format!("expert: {text}")));
    found.extend(bad("ip.checksum.status").map(|status| format!("IP checksum: {status}")));
    found.extend(bad("udp.checksum.status").map(|status| format!("UDP checksum: {status}")));
    let protocols = of("frame.protocols").unwrap_or_default();
    if !protocols
        .split(':')
        .any(|protocol| protocol == "infiniband")
    {
        found.push(format!("not InfiniBand: {protocols}"));
    }
    found
}

/// Decimal, `0x..`, or a truth value.
fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => match text {
            "True" => Ok(1),
            "False" => Ok(0),
            _ => text.parse(),
        },
    };
    parsed.unwrap_or_else(|_| panic!("tshark printed `{text}` for a number"))
}

/// Four bytes as tshark prints bytes, perhaps with colons.
fn from_bytes(text: &str) -> u32 {
    u32::from_str_radix(&text.replace(':', ""), 16).unwrap()
}

/// Python, if it is here, perhaps with scapy.
pub struct Python(String);

/// The ICRC of one packet, as it would be appended, read in little-endian order.
#[derive(Clone, Copy, Debug)]
pub struct Icrc {
    pub recipe: u32,
    /// `None` if this scapy cannot compute it.
    pub scapy: Option<u32>,
}

impl Python {
    /// `DPA_SCAPY_PYTHON`, which must have scapy, or the one of the system, which may.
    pub fn find() -> Option<Self> {
        find("DPA_SCAPY_PYTHON", "python3", &["--version"]).map(Self)
    }

    /// The ICRC of each packet of a capture.
    pub fn icrcs(&self, capture: &[u8]) -> Vec<Icrc> {
        let file = Scratch::new(capture);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decoders/icrc.py");
        let mut python = Command::new(&self.0);
        python.arg("-B").arg(script).arg(file.path());
        let printed = printed(&mut python);
        printed.lines().map(Icrc::parse).collect()
    }

    /// Says what was compared. A Python that was named must have computed with scapy.
    pub fn report(&self, family: [&str; 2], computed: &[Icrc]) {
        let by_scapy = computed.iter().filter(|icrc| icrc.scapy.is_some()).count();
        let of = computed.len();
        println!("{family:?}: {of} ICRCs by the recipe, {by_scapy} by scapy");
        if by_scapy < of {
            println!("skipped: scapy >= 2.5 is not installed for {}", self.0);
            let named = std::env::var_os("DPA_SCAPY_PYTHON").is_some();
            assert!(
                !named || by_scapy > 0 || family[0].contains(':'),
                "no scapy"
            );
        }
    }
}

impl Icrc {
    fn parse(line: &str) -> Self {
        let (recipe, scapy) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let hex = |text| u32::from_str_radix(text, 16);
        Self {
            recipe: hex(recipe).unwrap(),
            scapy: hex(scapy).ok(),
        }
    }
}

/// The program that the variable names, which must run, or else the usual one, if it does.
fn find(variable: &str, usual: &str, probe: &[&str]) -> Option<String> {
    let named = std::env::var(variable).ok();
    let program = named.clone().unwrap_or_else(|| usual.into());
    let probed = Command::new(&program).args(probe).output();
    if probed.is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    assert_eq!(named, None, "{variable} does not run");
    println!("skipped: no {usual} on this machine");
    None
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A file that is gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(bytes: &[u8]) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("decoders-{}-{serial}.pcap", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind, it harms nobody: the build directory's scratch space.
        let _ = std::fs::remove_file(&self.0);
    }
}

//! Over verbs, on any machine: a device that is not there (`../../rdma/tests/verbs/device.c`), and all that may be missing
//! of one. Each case is a program of its own, which finds that device's library, or none, when it starts.

#[path = "verbs/ends.rs"]
mod ends;
#[path = "verbs/failed.rs"]
mod failed;
#[path = "verbs/receives.rs"]
mod receives;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use doca_dpa::rdma::{HostBuffer, Provider, RemoteMemoryMap, Rights};
use doca_dpa::{Dpa, Location, SyncEvent};

/// Which case a program of its own is to be.
const CASE: &str = "DPA_TEST_CASE";
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rdma/tests/verbs/device.c");
const HERE: [u8; 4] = [10, 77, 0, 1];

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Directories of libraries that a program may find.
struct Libraries {
    /// The device.
    device: PathBuf,
    /// Something that is no library.
    broken: PathBuf,
    /// A library without functions.
    old: PathBuf,
    sysfs: PathBuf,
}

fn libraries() -> &'static Libraries {
    static MADE: OnceLock<Libraries> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verbs");
        let directory = |name: &str| {
            let made = place.join(name);
            std::fs::create_dir_all(&made).expect("a directory");
            made
        };
        let (device, broken, old) = (directory("device"), directory("broken"), directory("old"));
        compile(Path::new(SOURCE), &device);
        std::fs::write(broken.join("libibverbs.so.1"), "no library").expect("a file");
        let empty = place.join("empty.c");
        std::fs::write(&empty, "int nothing;\n").expect("a file");
        compile(&empty, &old);
        let sysfs = directory("sysfs");
        for (index, gid) in ["0a4d:0001", "0a4d:0002"].iter().enumerate() {
            let port = sysfs.join("mock0/ports/1");
            let of = |part: &str, text: &str| {
                let part = port.join(part);
                std::fs::create_dir_all(&part).expect("a directory");
                std::fs::write(part.join(index.to_string()), text).expect("a file");
            };
            of("gid_attrs/types", "RoCE v2\n");
            of("gids", &format!("0000:0000:0000:0000:0000:ffff:{gid}\n"));
        }
        Libraries {
            device,
            broken,
            old,
            sysfs,
        }
    })
}

fn compile(source: &Path, into: &Path) {
    let done = Command::new("cc")
        .args(["-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-o"])
        .arg(into.join("libibverbs.so.1"))
        .arg(source)
        .status();
    assert!(done.is_ok_and(|done| done.success()), "cc {source:?}");
}

/// Runs a case, and what it says. `lacks`: what the device lacks; `asked`: `DPA_RDMA`.
fn case(name: &str, library: &Path, lacks: &str, asked: Option<&str>) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "a_case_of_its_own", "--nocapture"]);
    child.env(CASE, name).env("LD_LIBRARY_PATH", library);
    child.env("DPA_MOCK_SYSFS", &libraries().sysfs);
    child.env("DPA_MOCK_LACKS", lacks);
    if name == "taken out" {
        child.env("DPA_MOCK_GONE", libraries().sysfs.join("gone"));
    }
    match asked {
        Some(asked) => child.env("DPA_RDMA", asked),
        None => child.env_remove("DPA_RDMA"),
    };
    let output = child.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("said: "));
    line.unwrap_or_else(|| panic!("{output:?}")).to_owned()
}

/// Run as a program of its own.
#[tokio::test]
async fn a_case_of_its_own() {
    let Ok(name) = std::env::var(CASE) else {
        return;
    };
    let said = match name.as_str() {
        "open" => open(HERE),
        "mapped" => mapped(),
        "elsewhere" => open([10, 77, 0, 9]),
        "on loopback" => open([127, 7, 7, 7]),
        "port" => open_at_another_port(),
        "connect" => connect(),
        "register" => register(),
        "kernels publish" => kernels_publish(),
        "registered before" => registered_before(),
        "one word" => one_word(),
        "two nics" => two_nics(),
        "heap" => in_the_heap(HERE).await,
        "another event" => another_event().await,
        "taken out" => taken_out().await,
        "by its lid" => in_the_heap([127, 7, 7, 7]).await,
        other => ends::case(other).await,
    };
    match said {
        Ok(said) => println!("said: {said}"),
        Err(error) => println!("said: {error}"),
    }
}

/// The core alone, at an address that is mapped into IPv6.
fn mapped() -> Outcome<String> {
    let [a, b, c, d] = HERE;
    let address = std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped();
    let nic = rdma::verbs::VerbsNic::open(None, address.into())?;
    Ok(nic.facts().address.to_string())
}

fn open(address: [u8; 4]) -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(address.into()).open()?;
    Ok(rdma.provider().to_string())
}

fn open_at_another_port() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).port(4792);
    let rdma = rdma.provider(Provider::Verbs { device: None }).open()?;
    Ok(rdma.provider().to_string())
}

fn connect() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).connections(2).open()?;
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    Ok("connected".into())
}

fn register() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).open()?;
    rdma.map_host(HostBuffer::new(4096), Rights::empty())?;
    Ok("registered".into())
}

/// An event that kernels and peers publish, in memory that peers may write.
fn kernels_publish() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).open()?;
    let buffer = HostBuffer::new(64);
    let _event = SyncEvent::builder(&dpa)
        .publisher(Location::Device | Location::Remote)
        .subscriber(Location::Host)
        .in_host_memory(&buffer, 8)
        .create()?;
    let buffer = rdma.map_host(buffer, Rights::REMOTE_READ)?.into_buffer();
    rdma.map_host(buffer, Rights::REMOTE_WRITE)?;
    Ok("registered".into())
}

/// An event where peers may write already; when they may no more, there can be one.
fn registered_before() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).open()?;
    let memory = dpa.zeroed_blocking::<u64>(8)?;
    let map = rdma.map(&memory, Rights::REMOTE_WRITE)?;
    let place = memory.slice(1..2)?;
    let event = || {
        SyncEvent::builder(&dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Host)
            .in_device_memory(&place)
            .create()
    };
    let refused = event().err().ok_or("it is refused")?;
    drop(map);
    event()?;
    Ok(refused.to_string())
}

/// An event that is exported has a word of its own; the memory it stands in would be another.
fn one_word() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).open()?;
    let memory = dpa.zeroed_blocking::<u64>(8)?;
    let event = SyncEvent::builder(&dpa)
        .publisher(Location::Host | Location::Remote)
        .subscriber(Location::Host)
        .in_device_memory(&memory.slice(1..2)?)
        .create()?;
    let export = rdma.export_event(&event)?;
    let refused = rdma.map(&memory, Rights::REMOTE_WRITE);
    let refused = refused.err().ok_or("it is refused")?;
    // The other way round both are the same word.
    drop(export);
    let _map = rdma.map(&memory, Rights::REMOTE_WRITE)?;
    let _export = rdma.export_event(&event)?;
    event.add(3)?;
    assert_eq!(event.get(), 3);
    Ok(refused.to_string())
}

/// An event that is exported on two NICs would have two words.
fn two_nics() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let first = dpa.rdma().address(HERE.into()).open()?;
    let second = dpa.rdma().address([10, 77, 0, 2].into()).open()?;
    let event = SyncEvent::builder(&dpa)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()?;
    let export = first.export_event(&event)?;
    let refused = second.export_event(&event).err().ok_or("it is refused")?;
    drop(export);
    second.export_event(&event)?;
    // A software NIC updates the event itself: neither beside the other, whichever came first.
    let soft = dpa.rdma().address([127, 43, 0, 1].into()).port(0);
    let soft = soft.provider(Provider::Soft).open()?;
    let exports = [soft.export_event(&event)?, soft.export_event(&event)?];
    for export in exports {
        let again = second.export_event(&event).err().ok_or("it is refused")?;
        assert_eq!(again.to_string(), refused.to_string());
        drop(export);
    }
    let export = second.export_event(&event)?;
    let again = soft.export_event(&event).err().ok_or("it is refused")?;
    assert_eq!(again.to_string(), refused.to_string());
    drop(export);
    soft.export_event(&event)?;
    Ok(refused.to_string())
}

/// What a peer writes where an event stood is for none that came after it.
async fn another_event() -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).connections(2).open()?;
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    let of_peers = || {
        SyncEvent::builder(&dpa)
            .publisher(Location::Host | Location::Remote)
            .subscriber(Location::Host)
    };
    let memory = dpa.zeroed::<u64>(4).await?;
    let place = memory.slice(2..3)?;
    let event = of_peers().in_device_memory(&place).create()?;
    let map = rdma.map(&memory, Rights::REMOTE_ATOMIC)?;
    let theirs = RemoteMemoryMap::import(&map.export())?;
    drop(event);
    let others = [of_peers().create()?, of_peers().create()?];
    let before = one.fetch_add(&theirs, 16, 6)?.await?.original;
    let _export = rdma.export_event(&others[0])?;
    others[0].add(1)?;
    drop(map);
    others[1].add(2)?;
    let seen = [others[0].get(), others[1].get()];
    Ok(format!("{before} {seen:?} {}", memory.copy_out().await?[2]))
}

/// The device is taken out while it works: connections fail, work ends, and nothing keeps a processor busy.
async fn taken_out() -> Outcome<String> {
    let gone = std::env::var("DPA_MOCK_GONE")?;
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).connections(2).open()?;
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    let memory = rdma.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let theirs = RemoteMemoryMap::import(&memory.map().export())?;
    one.fetch_add(&theirs, 0, 1)?.await?;
    std::fs::write(&gone, "")?;
    let posted = one.fetch_add(&theirs, 0, 1)?;
    let patience = Duration::from_secs(5);
    let ended = tokio::time::timeout(patience, posted).await?;
    let causes = futures::future::join(one.failed(), other.failed());
    let (cause, _) = tokio::time::timeout(patience, causes).await?;
    let before = processor_time();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = processor_time() - before;
    std::fs::remove_file(&gone)?;
    let ended = ended.err().ok_or("it fails")?;
    match used < Duration::from_millis(250) {
        true => Ok(format!("{ended}; {cause}")),
        false => Err(format!("{used:?} of processor time in 500 ms").into()),
    }
}

/// What this program has had so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// An event in device memory, updated by a peer and by the host, read by the device's own requests.
async fn in_the_heap(address: [u8; 4]) -> Outcome<String> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(address.into()).connections(2).open()?;
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    let memory = dpa.zeroed::<u64>(4).await?;
    let event = SyncEvent::builder(&dpa)
        .publisher(Location::Host | Location::Remote)
        .subscriber(Location::Host)
        .in_device_memory(&memory.slice(2..3)?)
        .create()?;
    event.set(5)?;
    let map = rdma.map(&memory, Rights::REMOTE_ATOMIC)?;
    let theirs = RemoteMemoryMap::import(&map.export())?;
    let before = one.fetch_add(&theirs, 16, 6)?.await?.original;
    let seen = event.ge(11).await?;
    event.add(1)?;
    let copied = memory.copy_out().await?;
    // When peers can reach it no more it goes on as an event that the processor updates.
    drop(map);
    event.add(1)?;
    let after = (event.get(), memory.copy_out().await?[2]);
    Ok(format!("{before} {seen} {copied:?} {after:?}"))
}

#[test]
fn what_is_missing_is_said_with_its_remedy() {
    let there = libraries();
    let device = &there.device;
    let cases: [(&str, &Path, &str, &str, &str); 12] = [
        (
            "open",
            &there.broken,
            "",
            "verbs",
            "libibverbs cannot be loaded (*): install it (Debian: *",
        ),
        (
            "open",
            &there.old,
            "",
            "verbs",
            "libibverbs cannot be loaded (it has no ibv_*: it is too old): install it *",
        ),
        (
            "open",
            device,
            "kernel",
            "verbs",
            "the kernel offers no RDMA devices: load its module with `modprobe ib_uverbs`",
        ),
        (
            "open",
            device,
            "device",
            "verbs",
            "there is no RDMA device: load the driver of the card, or make one *`rdma link add *",
        ),
        (
            "open",
            device,
            "",
            "verbs:rxe9",
            "there is no RDMA device rxe9: there are mock0",
        ),
        (
            "open",
            device,
            "permission",
            "verbs",
            "mock0 cannot be opened: let this user read and write /dev/infiniband/uverbs* *",
        ),
        (
            "open",
            device,
            "memory",
            "verbs",
            "mock0: registering memory failed: Cannot allocate memory (os error 12); the limit for locked memory may be too low: raise it with `ulimit -l unlimited` *",
        ),
        (
            "open",
            device,
            "port",
            "verbs",
            "port 1 of mock0 is down: bring its network interface up (`ip link set INTERFACE up`)",
        ),
        (
            "elsewhere",
            device,
            "",
            "verbs",
            "mock0 has no RoCE v2 address 10.77.0.9, only 10.77.0.1, 10.77.0.2: give one of these, or add it with `ip addr add 10.77.0.9/24 *",
        ),
        (
            "open",
            device,
            "",
            "verb",
            "DPA_RDMA: \"verb\" names no RDMA provider: `auto`, `soft`, `verbs` and `verbs:DEVICE` do",
        ),
        (
            "open",
            device,
            "",
            "verbs",
            "verbs on mock0 port 1, GID index 0 (DPA_RDMA says so)",
        ),
        (
            "open",
            device,
            "",
            "verbs:mock0",
            "verbs on mock0 port 1, GID index 0 (DPA_RDMA says so)",
        ),
    ];
    for (name, library, lacks, asked, expected) in cases {
        let said = case(name, library, lacks, Some(asked));
        assert!(is_like(&said, expected), "{name} {lacks} {asked}: {said}");
    }
}

/// Whether a text is this, in which a star stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    pattern.ends_with('*') || rest.is_empty()
}

#[test]
fn the_software_nic_is_taken_with_the_reason_that_there_is_no_other() {
    let there = libraries();
    let on_loopback = |library: &Path, lacks| case("on loopback", library, lacks, None);
    let said = on_loopback(&there.device, "device");
    assert!(
        said.starts_with("the software NIC (there is no RDMA device: "),
        "{said}"
    );
    let said = on_loopback(&there.broken, "");
    assert!(
        said.starts_with("the software NIC (libibverbs cannot be loaded "),
        "{said}"
    );
    let said = on_loopback(&there.device, "");
    assert!(
        said.starts_with("the software NIC (mock0 has no RoCE v2 address 127.7.7.7"),
        "{said}"
    );
    let said = case("on loopback", &there.device, "", Some("soft"));
    assert_eq!(said, "the software NIC (DPA_RDMA says so)");
    let said = case("open", &there.device, "", None);
    assert_eq!(
        said,
        "verbs on mock0 port 1, GID index 0 (an active port has the address)"
    );
}

#[test]
fn an_ipv4_address_mapped_into_ipv6_is_that_address() {
    let said = case("mapped", &libraries().device, "", None);
    assert_eq!(said, "10.77.0.1");
}

#[test]
fn what_a_device_cannot_is_a_typed_error() {
    let device = &libraries().device;
    let verbs = |name, lacks| case(name, device, lacks, Some("verbs"));
    assert_eq!(verbs("connect", ""), "connected");
    let said = verbs("connect", "atomics");
    assert!(
        said.ends_with("the device at 10.77.0.1 has no atomics, so nothing can be added to a remote event: use the software NIC there (DPA_RDMA=soft)"),
        "{said}"
    );
    let said = case("port", device, "", None);
    assert_eq!(
        said,
        "a NIC behind verbs receives at UDP port 4791, not 4792: leave the port as it is"
    );
    assert_eq!(verbs("register", ""), "registered");
}

#[test]
fn an_infiniband_port_is_found_by_the_name_of_its_device() {
    let device = &libraries().device;
    let said = case("by its lid", device, "ethernet", Some("verbs:mock0"));
    assert_eq!(said, "5 11 [0, 0, 12, 0] (13, 13)");
    let said = case("by its lid", device, "ethernet port", Some("verbs:mock0"));
    assert!(said.contains("port 1 of mock0 is down"), "{said}");
}

#[test]
fn rule_6_7_a_device_that_is_taken_out_fails_its_connections() {
    let device = &libraries().device;
    let said = case("taken out", device, "", Some("verbs"));
    assert!(said.contains("device"), "{said}");
}

#[test]
fn an_event_in_memory_is_the_word_that_the_device_writes() {
    let device = &libraries().device;
    let verbs = |name| case(name, device, "", Some("verbs"));
    assert_eq!(verbs("heap"), "5 11 [0, 0, 12, 0] (13, 13)");
    assert_eq!(verbs("another event"), "0 [1, 2] 6");
    let said = verbs("one word");
    assert!(
        said.contains("the NIC writes one word of an event, and this one has another already"),
        "{said}"
    );
    let said = case("two nics", device, "", None);
    assert!(
        said.contains("the NIC writes one word of an event, and this one has another already"),
        "{said}"
    );
    let said = verbs("kernels publish");
    assert!(
        said.contains("cannot be updated by kernels and launches"),
        "{said}"
    );
    let said = verbs("registered before");
    assert!(
        said.contains("make an event that they publish before its memory is registered"),
        "{said}"
    );
}

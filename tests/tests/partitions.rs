//! Functions of a device, their partitions, groups of units by name, and device files.

#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use doca_dpa::{
    Affinity, Builder, Dpa, Error, FunctionError, FunctionKind, FunctionSpec, GroupSpec,
    LayoutError, PartitionSpec, Sim, SyncEvent, UnitSet,
};
use flexio::device_file::parse;
use seeds::seeds;
use tests::cmdq::{StayArgs, stay};
use tests::threads::{CrowdArgs, crowd};
use tests::{MeetArgs, PanicsArgs, PollArgs, RaiseArgs, meet, panics, poll, raise};

fn set(text: &str) -> UnitSet {
    text.parse().expect("a set")
}

fn function(name: &str, units: Option<&str>) -> FunctionSpec {
    FunctionSpec {
        name: name.into(),
        kind: FunctionKind::Virtual,
        address: None,
        partition: units.map(|units| PartitionSpec {
            units: set(units),
            groups: Vec::new(),
        }),
    }
}

/// Two functions with four and two units, and one without.
fn three() -> Builder {
    let mut first = function("vf0", Some("20-23"));
    if let Some(partition) = &mut first.partition {
        partition.groups = ["pair", "rest"]
            .into_iter()
            .zip(["0-1", "2-3"])
            .map(|(name, units)| GroupSpec {
                name: name.into(),
                units: set(units),
            })
            .collect();
    }
    let others = [function("vf1", Some("7, 9")), function("vf2", None)];
    Dpa::builder()
        .workers(2)
        .functions([first].into_iter().chain(others))
}

/// Runs a program on a device with threads, and on simulated ones.
fn both(program: impl AsyncFn(Dpa) -> Result<(), Error>) {
    for seed in seeds(20) {
        let run = Sim::new(seed)
            .on(three())
            .run(async |dpa| program(dpa).await);
        run.expect("a simulation").value.expect("all well");
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        let limit = std::time::Duration::from_secs(60);
        let running = async { program(three().open()?).await };
        tokio::time::timeout(limit, running).await.expect("it ends")
    });
    ended.expect("all well");
}

#[test]
fn rule_2_3_each_partition_has_its_own_units() {
    both(async |dpa| {
        let other = dpa.open_on("vf1")?;
        assert_eq!((dpa.function(), other.function()), ("vf0", "vf1"));
        assert_eq!((dpa.eus_available(), other.eus_available()), (4, 2));
        for (context, most) in [(&dpa, 4), (&other, 2)] {
            let ranks = context.zeroed::<u64>(most).await?;
            let wrong = context.zeroed::<u64>(1).await?;
            let args = || MeetArgs {
                ranks: &ranks,
                wrong: &wrong,
            };
            let all = context.launch(meet).args(args()).threads(most as u32);
            all.submit()?.await?;
            let more = context.launch(meet).args(args()).threads(most as u32 + 1);
            let refused = more.submit().expect_err("more than there are");
            assert!(
                refused
                    .to_string()
                    .contains(&format!("allowed are 1 to {most}")),
                "{refused}"
            );
        }
        Ok(())
    });
}

#[test]
fn rule_2_3_partitions_do_not_wait_for_each_other() {
    both(async |dpa| {
        let other = dpa.open_on("vf1")?;
        // All units of the first partition poll, and a launch behind them waits for units.
        let flag = dpa.zeroed::<u64>(1).await?;
        let polling = dpa.launch(poll).args(PollArgs { flag: &flag }).threads(3);
        let polling = polling.submit()?;
        let (ranks, wrong) = (dpa.zeroed::<u64>(4).await?, dpa.zeroed::<u64>(1).await?);
        let args = MeetArgs {
            ranks: &ranks,
            wrong: &wrong,
        };
        let behind = dpa.launch(meet).args(args).threads(4).submit()?;
        // The other partition goes on all the same, with all of its own.
        let (ranks, wrong) = (other.zeroed::<u64>(2).await?, other.zeroed::<u64>(1).await?);
        let args = MeetArgs {
            ranks: &ranks,
            wrong: &wrong,
        };
        other.launch(meet).args(args).threads(2).submit()?.await?;
        assert!(!behind.is_over());
        flag.write(0, &[1]).await?;
        polling.await?;
        behind.await?;
        Ok(())
    });
}

#[test]
fn threads_of_two_processes_run_on_the_units_of_their_own_partition() {
    both(async |dpa| {
        let other = dpa.open_on("vf1")?;
        let count = async |context: &Dpa, jobs: u64| {
            let inside = context.zeroed::<u64>(2).await?;
            let mut launches = Vec::new();
            for _ in 0..jobs {
                let args = StayArgs { at: inside.addr() };
                launches.push(context.launch(stay).args(args).submit()?);
            }
            for launch in launches {
                launch.await?;
            }
            Ok::<_, Error>(inside.copy_out().await?[1])
        };
        let (ours, theirs) = futures::try_join!(count(&dpa, 12), count(&other, 12))?;
        assert!(ours <= 4 && theirs <= 2, "{ours} and {theirs} at a time");
        Ok(())
    });
}

#[test]
fn a_group_is_found_by_its_name_and_shares_its_units_with_who_asks_for_one() {
    both(async |dpa| {
        let pair = dpa.group("pair")?;
        assert_eq!(pair, Affinity::Group(0));
        let unknown = dpa.group("nobody").expect_err("there is none");
        assert!(
            unknown.to_string().contains("it has pair, rest"),
            "{unknown}"
        );
        let inside = dpa.zeroed::<u64>(2).await?;
        let done = SyncEvent::device_to_host(&dpa)?;
        let args = || CrowdArgs {
            inside: &inside,
            done: &done,
        };
        // Three may run in the pair of units or on one of the two: at most two do.
        let threads = [pair, pair, pair, Affinity::Strict(0), Affinity::Strict(1)]
            .map(|affinity| dpa.thread(crowd, args()).affinity(affinity).start());
        let threads: Vec<_> = threads.into_iter().collect::<Result<_, _>>()?;
        for thread in &threads {
            thread.run()?;
            thread.notify();
        }
        done.ge(5).await?;
        assert!(inside.copy_out().await?[1] <= 2);
        let beyond = dpa
            .thread(crowd, args())
            .affinity(Affinity::Strict(4))
            .start();
        assert!(
            beyond
                .expect_err("virtual numbers")
                .to_string()
                .contains("there are 4, from 0")
        );
        Ok(())
    });
}

#[test]
fn a_function_without_units_or_with_another_name_is_a_clear_error() {
    both(async |dpa| {
        let none = dpa.open_on("vf2").expect_err("no partition").to_string();
        assert!(none.contains("function `vf2` has no partition"), "{none}");
        let unknown = dpa.open_on("vf9").expect_err("no such").to_string();
        assert!(unknown.contains("there are vf0, vf1, vf2"), "{unknown}");
        let unknown = dpa.extend("vf9").expect_err("no such").to_string();
        assert!(unknown.contains("there are vf0, vf1, vf2"), "{unknown}");
        let silent = dpa.extend("vf1").expect_err("no NIC").to_string();
        assert!(silent.contains("has no address"), "{silent}");
        Ok(())
    });
    let refused = three().function("vf2").open().expect_err("no partition");
    assert!(refused.to_string().contains("no partition"), "{refused}");
}

#[test]
fn a_partition_is_resized_while_nothing_is_open_on_it() {
    both(async |dpa| {
        let more = |units: &str| {
            let units = set(units);
            let groups = Vec::new();
            Some(PartitionSpec { units, groups })
        };
        let open = dpa.open_on("vf1")?;
        let busy = dpa.resize("vf1", more("7-12")).expect_err("open");
        assert_eq!(
            busy.to_string(),
            "function `vf1` cannot be changed: 1 contexts are open on it"
        );
        open.close().await?;
        let shared = dpa.resize("vf1", more("7, 20"));
        let Err(FunctionError::Layout(LayoutError::Shared { unit: 20, .. })) = shared else {
            panic!("{shared:?}");
        };
        dpa.resize("vf1", more("7-12"))?;
        let wider = dpa.open_on("vf1")?;
        assert_eq!(wider.eus_available(), 6);
        let (ranks, wrong) = (wider.zeroed::<u64>(6).await?, wider.zeroed::<u64>(1).await?);
        let args = MeetArgs {
            ranks: &ranks,
            wrong: &wrong,
        };
        wider.launch(meet).args(args).threads(6).submit()?.await?;
        let functions = dpa.functions();
        let seen: Vec<_> = functions
            .iter()
            .map(|f| (f.name.as_str(), f.open))
            .collect();
        assert_eq!(seen, [("vf0", 1), ("vf1", 1), ("vf2", 0)]);
        drop((ranks, wrong));
        wider.close().await?;
        dpa.resize("vf1", None)?;
        assert!(dpa.open_on("vf1").is_err());
        Ok(())
    });
}

#[test]
fn rule_5_3_a_fault_in_one_partition_leaves_the_other_alone() {
    both(async |dpa| {
        let other = dpa.open_on("vf1")?;
        let flag = dpa.zeroed::<u64>(1).await?;
        let polling = dpa.launch(poll).args(PollArgs { flag: &flag }).submit()?;
        let failing = other.launch(panics).args(PanicsArgs { number: 1 });
        assert!(failing.submit()?.await.is_err());
        dpa.launch(raise)
            .args(RaiseArgs { flag: &flag })
            .submit()?
            .await?;
        polling.await?;
        assert!(dpa.last_error().is_none());
        Ok(())
    });
}

/// A context with a NIC of its own function and that of another: what is done through one is not seen by the other.
#[test]
fn an_extended_context_has_a_second_nic() {
    let at = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 31, last));
    let with = |name: &str, units, last| FunctionSpec {
        address: Some(at(last)),
        ..function(name, units)
    };
    let functions = [with("pf0", Some("0-7"), 1), with("vf0", None, 2)];
    let program = async |dpa: Dpa| {
        let extended = dpa.extend("vf0")?;
        assert_eq!((extended.function(), extended.address()), ("vf0", at(2)));
        let (own, second) = (dpa.rdma().open()?, extended.rdma().open()?);
        assert_eq!((own.address().ip(), second.address().ip()), (at(1), at(2)));
        let (from, to) = (own.export()?, second.export()?);
        from.connect(&to.blob())?;
        to.connect(&from.blob())?;
        let map = second.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
        let number = RemoteMemoryMap::import(&map.map().export())?;
        assert_eq!(from.fetch_add(&number, 0, 5)?.await?.original, 0);
        assert_eq!(map.buffer().to_vec(), 5u64.to_ne_bytes());
        // The same key at the other NIC names nothing.
        assert!(to.fetch_add(&number, 0, 1)?.await.is_err());
        Ok::<_, Error>(())
    };
    for seed in seeds(10) {
        let builder = Dpa::builder().functions(functions.clone());
        let run = Sim::new(seed).on(builder).run(program);
        run.expect("a simulation").value.expect("all well");
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let opened = Dpa::builder().workers(2).functions(functions).open();
    runtime
        .block_on(program(opened.expect("a device")))
        .expect("all well");
}

#[test]
fn the_example_is_a_device_file() -> Result<(), Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/device.toml");
    let dpa = Dpa::builder()
        .device_file(&path)
        .workers(1)
        .function("vf0")
        .open()?;
    assert_eq!(dpa.eus_available(), 90);
    let functions = dpa.functions();
    let names: Vec<_> = functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["pf0", "vf0", "vf1"]);
    let first = functions[0].partition.as_ref().expect("units");
    assert_eq!(first.groups[1].units.to_string(), "4-7, 12");
    let extended = dpa.extend("vf1")?;
    assert_eq!(extended.address(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
    assert_eq!(dpa.open_on("pf0")?.group("send")?, Affinity::Group(1));
    Ok(())
}

/// What is wrong with these files, as it is said.
#[test]
fn what_is_wrong_with_a_device_file_is_said_with_its_place() {
    let one = "[[function]]\nname = \"a\"\nunits = \"0-3\"\n";
    let wrong: [(String, &[&str]); 15] = [
        ("cores = ".into(), &["line 1, column"]),
        (
            "kores = 4\n".into(),
            &["line 1, column 1", "unknown field `kores`", "`cores`"],
        ),
        (
            "cores = \"many\"\n".into(),
            &["line 1", "invalid type: string"],
        ),
        (
            "cores = 100000\n".into(),
            &["line 1: ", "cores is 100000, allowed are 1 to 1024"],
        ),
        (
            "# figures\n\nworkers = 1\n eus_per_core=0\n".into(),
            &["line 4: ", "eus_per_core is 0, allowed are 1 to 1024"],
        ),
        (
            "reserved_eus = 256\n".into(),
            &["line 1: ", "reserved_eus is 256, allowed are 0 to 255"],
        ),
        (
            "\"cores\" = 0\n".into(),
            &["there.toml: ", "cores is 0, allowed are 1 to 1024"],
        ),
        (
            format!("{one}kind = \"xf\"\n"),
            &["line 4", "unknown variant `xf`", "`vf`"],
        ),
        (
            format!("{one}address = \"there\"\n"),
            &["line 4", "IP address"],
        ),
        (
            "[[function]]\nname = \"a\"\nunits = \"3-0\"\n".into(),
            &["line 3", "`3-0` is no set of units"],
        ),
        (
            "[[function]]\nname = \"a\"\nunits = \"250-260\"\n".into(),
            &["line 2", "names unit 260, there are 254"],
        ),
        (
            format!("{one}\n{one}"),
            &["line 6", "two functions are named `a`"],
        ),
        (
            format!("{one}\n{}", one.replace("\"a\"", "\"b\"")),
            &["line 6", "unit 0 is in the partitions of `a` and of `b`"],
        ),
        (
            "[[function]]\nname = \"a\"\n[[function.group]]\nname = \"g\"\nunits = \"0\"\n".into(),
            &["line 2", "the partition of `a` has no units"],
        ),
        (
            format!("{one}[[function.group]]\nname = \"a name that is long\"\nunits = \"0\"\n"),
            &["`a name that is long` is no name of a group: 1 to 15"],
        ),
    ];
    for (text, parts) in wrong {
        let error = parse(Path::new("there.toml"), &text)
            .expect_err(&text)
            .to_string();
        for part in ["there.toml"].iter().chain(parts) {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    }
    let missing = Dpa::builder().device_file("/nowhere/device.toml").open();
    let missing = missing.expect_err("no file").to_string();
    assert!(
        missing.contains("/nowhere/device.toml cannot be read: No such file"),
        "{missing}"
    );
    let fifo = std::env::temp_dir().join(format!("dpa-device-file-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("there is mkfifo").success());
    let (tell, told) = std::sync::mpsc::channel();
    let path = fifo.clone();
    // In a thread of its own: what would open it waits without end.
    std::thread::spawn(move || tell.send(Dpa::builder().device_file(path).open()));
    let pipe = told.recv_timeout(std::time::Duration::from_secs(20));
    std::fs::remove_file(&fifo).expect("it is there");
    let pipe = pipe.expect("an answer").expect_err("no file").to_string();
    assert!(pipe.contains("it is no regular file"), "{pipe}");
    let many = |count: usize, units: &dyn Fn(usize) -> String| {
        (0..count)
            .map(|n| format!("[[function]]\nname = \"f{n}\"\n{}", units(n)))
            .collect::<String>()
    };
    let functions = parse(Path::new("x"), &many(33, &|_| String::new())).expect_err("too many");
    assert!(
        functions.to_string().contains("33 functions, at most 32"),
        "{functions}"
    );
    let partitions = parse(Path::new("x"), &many(16, &|n| format!("units = \"{n}\"\n")));
    let partitions = partitions.expect_err("too many");
    assert!(
        partitions.to_string().contains("16 partitions, at most 15"),
        "{partitions}"
    );
}

/// Whatever stands in a file, it is read or refused.
#[test]
fn damaged_device_files_are_refused_and_nothing_worse() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/device.toml");
    let whole = std::fs::read(&path).expect("the example");
    let mut state = 1u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % n
    };
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + below(4) {
            let at = below(bytes.len());
            match below(3) {
                0 => bytes[at] = b"\"[]=-,0129\n#xf"[below(14)],
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"\"[]=-,0129\n#xf"[below(14)]),
            }
        }
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = parse(&path, &text);
        }
    }
}

#[test]
fn the_low_layer_says_units_and_groups() {
    let (name, units) = ("vf0".to_owned(), set("3-5"));
    let groups = vec![GroupSpec {
        name: "two".into(),
        units: set("1-2"),
    }];
    let partition = Some(PartitionSpec {
        units,
        groups: groups.clone(),
    });
    let config = flexio::DeviceConfig {
        workers: 1,
        functions: vec![FunctionSpec {
            partition,
            ..function(&name, None)
        }],
        ..flexio::DeviceConfig::default()
    };
    let device = flexio::Device::open(config).expect("a device");
    let process = device.process().expect("a process");
    assert_eq!((process.function(), process.units()), ("vf0", 3));
    assert_eq!(process.groups(), groups);
    let [function] = &device.functions()[..] else {
        panic!("one function");
    };
    let partition = function.partition.as_ref().expect("it has one");
    assert_eq!((&function.name[..], function.open), ("vf0", 1));
    assert_eq!(partition.groups, groups);
}

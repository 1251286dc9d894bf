//! The low layer by itself, without the high one: processes, memory, commands, handlers, windows, queues. And what of
//! the high layer nothing else asks for.

mod addresses;
mod drivers;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use doca_dpa::rdma::{
    CompletionQueue, Connection, HostBuffer, Rdma, RemoteMemoryMap, RemoteSyncEvent,
};
use doca_dpa::{CloseReason, Dpa, Error, Location, SyncEvent};
use dpa_abi::{Condition, DevAddr, IntoArgs, Kernel, Rights, Rpc};
use drivers::both;
use drivers::on::seeds;
use flexio::cmdq::{QueueError, QueueSpec};
use flexio::queues::{CompletionEntry, CompletionSpec, Outbox, ReceiveQueue, SendQueue, Uar};
use flexio::rdma::Rights as RemoteRights;
use flexio::{
    Command, Device, DeviceConfig, ErrorHandlerError, ErrorStatus, HandlerError, HandlerState,
    HostMemory, Locations, Outcome, SubmitError,
};
use tests::figures::*;
use tests::windows::{StoreAtArgs, store_at};
use tests::{GivesUpArgs, gives_up};

fn open() -> Device {
    let config = DeviceConfig {
        workers: 2,
        ..DeviceConfig::default()
    };
    Device::open(config).expect("a device")
}

/// The packed arguments of a kernel that stores a number.
fn store(at: u64, value: u64) -> <<store_at as Kernel>::Args as dpa_abi::KernelArgs>::Wire {
    let at = DevAddr::from_raw(at);
    StoreAtArgs { at, value }.into_args().0
}

fn word(process: &flexio::ProcessRef, at: u64) -> u64 {
    let mut bytes = [0; 8];
    process.read(at, &mut bytes).expect("its memory");
    u64::from_le_bytes(bytes)
}

#[test]
fn a_process_has_memory_that_the_host_copies_to_and_from() {
    let device = open();
    let process = device.process().expect("a process");
    let at = process.alloc(64, false).expect("memory");
    process.fill(at, 64, 0xaa).expect("its memory");
    process
        .write(at + 8, &7u64.to_le_bytes())
        .expect("its memory");
    assert_eq!(word(&process, at), 0xaaaa_aaaa_aaaa_aaaa);
    assert_eq!(word(&process, at + 8), 7);
    assert!(process.memory_info().requested >= 64);
    assert!(process.free(at) && !process.free(at));
    assert!(process.read(at, &mut [0]).is_err());
    assert_eq!(process.error_status(), ErrorStatus::NoError);
    let report = process.shut_down();
    assert_eq!(report.launches_dropped, 0);
    assert!(process.is_stopped());
}

#[test]
fn commands_run_kernels_and_calls() {
    let device = open();
    let process = device.process().expect("a process");
    let at = process.alloc(8, true).expect("memory");
    let command = Command::kernel(store_at.entry(), store(at, 42));
    let submitted = command.submit(&process).map_err(|(error, _)| error);
    let submitted = submitted.expect("room");
    assert_eq!(submitted.wait(), Some(Outcome::Completed));
    assert_eq!(word(&process, at), 42);
    let call = Command::call(tests::sum_to.entry(), (10u64,).0);
    let call = call
        .submit(&process)
        .map_err(|(error, _)| error)
        .expect("room");
    assert_eq!((call.wait(), call.result()), (Some(Outcome::Completed), 55));
}

#[test]
fn arguments_of_another_size_are_refused_before_anything_runs() {
    let device = open();
    let process = device.process().expect("a process");
    let (given, takes) = (4, store_at.entry().arg_bytes);
    let command = Command::kernel(store_at.entry(), 7u32);
    let (error, command) = command.submit(&process).expect_err("too short");
    assert_eq!(error, SubmitError::Arguments { given, takes });
    let at = process.alloc(8, true).expect("memory");
    let command = command.with_args(store(at, 1)).submit(&process);
    let submitted = command.map_err(|(error, _)| error).expect("as it takes");
    assert_eq!(submitted.wait(), Some(Outcome::Completed));

    let call = Command::call(tests::sum_to.entry(), [1u64; 2]);
    let (error, _) = call.submit(&process).expect_err("too long");
    let expected = SubmitError::Arguments {
        given: 16,
        takes: 8,
    };
    assert_eq!(error, expected);

    let handler = process.event_handler(store_at.entry(), 7u32).create();
    let expected = HandlerError::Arguments { given, takes };
    assert_eq!(handler.expect_err("too short"), expected);
    let set = process.set_error_handler(store_at.entry(), 7u32, None);
    assert_eq!(set, Err(ErrorHandlerError::Arguments { given, takes }));
    let spec = QueueSpec {
        workers: 1,
        batch: 1,
        capacity: 1,
    };
    let queue = process.command_queue(spec).expect("a queue");
    let added = queue.add(store_at.entry(), 7u32);
    assert_eq!(added, Err(QueueError::Arguments { given, takes }));
    assert_eq!(process.error_status(), ErrorStatus::NoError);
}

/// Says when it is dropped, and is nothing else.
struct Tells;

static TOLD: AtomicU8 = AtomicU8::new(0);

impl Drop for Tells {
    fn drop(&mut self) {
        TOLD.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_is_kept_is_dropped_at_the_end_also_if_it_has_no_bytes() {
    let device = open();
    let process = device.process().expect("a process");
    let command = Command::kernel(tests::nothing.entry(), ()).keep(Tells);
    assert_eq!(TOLD.load(Ordering::SeqCst), 0);
    let submitted = command.submit(&process).map_err(|(error, _)| error);
    assert_eq!(submitted.expect("room").wait(), Some(Outcome::Completed));
    wait_until(&process);
    assert_eq!(TOLD.load(Ordering::SeqCst), 1);
}

#[test]
fn rule_1_9_a_command_says_how_the_event_was_closed_that_it_waited_for() {
    let device = open();
    let process = device.process().expect("a process");
    let own = Locations::new(Location::Host, Location::Device).expect("places");
    let at = process.alloc(8, true).expect("memory");
    for reason in [CloseReason::Explicit, CloseReason::PublisherGone] {
        let event = process.event(5, own).expect("an event");
        let command = Command::kernel(store_at.entry(), store(at, 42));
        let command = command.wait_for(event.handle(), Condition::ge(6));
        let submitted = command.submit(&process).map_err(|(error, _)| error);
        let submitted = submitted.expect("room");
        match reason {
            CloseReason::Explicit => assert!(event.close(reason)),
            _ => drop(event),
        }
        assert_eq!(submitted.wait(), Some(Outcome::WaitEventClosed));
        let closed = submitted.wait_closed();
        assert_eq!((closed.last, closed.reason), (5, reason));
    }
    assert_eq!(word(&process, at), 0, "neither has run");
}

#[test]
fn handlers_run_once_for_each_trigger() {
    let device = open();
    let process = device.process().expect("a process");
    let at = process.alloc(8, true).expect("memory");
    let handler = process.event_handler(store_at.entry(), store(at, 9));
    let handler = handler.create().expect("a handler");
    assert_eq!(handler.state(), HandlerState::New);
    handler.run().expect("new");
    handler.trigger();
    wait_until(&process);
    assert_eq!((word(&process, at), handler.activations()), (9, 1));
    assert_ne!(handler.handle().0.to_bits(), 0);
    drop(handler);
}

/// Blocks until nothing is unfinished.
fn wait_until(process: &flexio::ProcessRef) {
    for _ in 0..20_000 {
        if process
            .poll_idle(&Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it is not idle after 20 s");
}

#[test]
fn a_window_and_a_command_queue() {
    let device = open();
    let process = device.process().expect("a process");
    let memory = Arc::new(HostMemory::new(64).expect("memory"));
    let window = process
        .window(&memory, Rights::ReadWrite)
        .expect("a window");
    let spec = QueueSpec {
        workers: 1,
        batch: 2,
        capacity: 16,
    };
    let queue = process.command_queue(spec).expect("a queue");
    for number in 0..8 {
        let args = store(window.addr().raw() + 8 * number, number + 1);
        queue.add(store_at.entry(), args).expect("room");
    }
    assert!(!queue.is_empty() && !queue.is_running());
    queue.run();
    for _ in 0..20_000 {
        if queue.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(queue.done(), 8);
    let mut last = [0; 8];
    memory.read(56, &mut last);
    assert_eq!(u64::from_le_bytes(last), 8);
}

#[test]
fn a_failure_is_polled_and_an_error_handler_runs_before() {
    let device = open();
    let process = device.process().expect("a process");
    let at = process.alloc(8, true).expect("memory");
    let set = process.set_error_handler(store_at.entry(), store(at, 5), None);
    set.expect("none yet");
    let cx = Context::from_waker(Waker::noop());
    assert!(process.poll_failed(&cx).is_pending());
    let args = GivesUpArgs { code: 0x99u64 }.into_args().0;
    let command = Command::kernel(gives_up.entry(), args);
    let submitted = command.submit(&process).map_err(|(error, _)| error);
    assert_eq!(submitted.expect("room").wait(), Some(Outcome::Faulted));
    assert!(matches!(process.poll_failed(&cx), Poll::Ready(Some(_))));
    assert_eq!(process.error_status().code(), 0x99);
    assert_eq!(word(&process, at), 5);
}

#[test]
fn queues_and_keys_of_the_nic_without_a_network() {
    let device = open();
    let process = device.process().expect("a process");
    let nic = process.local_nic().expect("a NIC");
    let queue = nic.completion_queue(100).expect("a queue");
    assert_eq!((queue.entries(), queue.has_overrun()), (128, false));
    let at = process.alloc(64, true).expect("memory");
    let registered = nic.register_device(at, 64, RemoteRights::REMOTE_READ);
    let registered = registered.expect("it is in the heap");
    let again = nic.register_device(at, 64, RemoteRights::REMOTE_READ);
    let again = again.expect("as often as one likes");
    assert_ne!(registered.local_key(), again.local_key());
    let outside = nic.register_device(at + 64, 1 << 40, RemoteRights::REMOTE_READ);
    assert!(outside.is_err());
}

#[test]
fn the_figures_of_a_device() {
    assert!(!Dpa::devices().is_empty());
    both(async |dpa| {
        let (cores, each) = (dpa.cores(), dpa.eus_per_core());
        assert!(dpa.eus_available() <= cores * each);
        assert_eq!(dpa.max_threads_per_kernel(), dpa.eus_available());
        assert_eq!(dpa.kernel_max_run_time(), Some(Duration::from_secs(12)));
        Ok(())
    });
}

#[test]
fn counters_grow_and_fixed_point_numbers_are_right() {
    both(async |dpa| {
        let seen = dpa.zeroed::<u64>(4).await?;
        let args = CountsAndFiguresArgs { seen: &seen };
        dpa.launch(counts_and_figures).args(args).submit()?.await?;
        let seen = seen.copy_out().await?;
        assert_eq!(seen[..2], [1, 1 << 14]);
        assert!(seen[2].abs_diff(8 << 16) <= 2 && seen[3].abs_diff(3 << 16) <= 2);
        Ok(())
    });
}

/// Those of the spaces that windows are in: before the thread ends, which writes back whatever it has stored.
#[test]
fn fences_of_each_kind_let_the_host_see_what_was_stored() {
    for seed in seeds(20) {
        for which in 0..3 {
            let run = doca_dpa::Sim::new(seed).run(async |dpa| host_sees(dpa, which).await);
            let seen = run.expect("a simulation").value.expect("all well");
            assert_eq!(seen, 7u64.to_ne_bytes(), "fence {which} at seed {seed}");
        }
    }
}

/// What the host sees of a store behind this kind of fence.
async fn host_sees(dpa: Dpa, which: u64) -> Result<Vec<u8>, Error> {
    let host = dpa.window::<u64>(HostBuffer::new(8))?;
    let told = dpa.zeroed::<u64>(1).await?;
    let go_on = SyncEvent::host_to_device(&dpa)?;
    let args = OrdersArgs {
        which,
        host: &host,
        told: &told,
        go_on: &go_on,
    };
    let ordering = dpa.launch(orders).args(args).submit()?;
    while told.copy_out().await? != [1] {
        dpa.sleep(Duration::from_nanos(50)).await;
    }
    let seen = host.buffer().to_vec();
    go_on.add(1)?;
    ordering.await?;
    Ok(seen)
}

/// An address of loopback that no other NIC of this program has.
fn fresh_address() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(10);
    addresses::of_this_program(LAST.fetch_add(1, Ordering::Relaxed)).into()
}

/// A context with two connections to each other.
fn loopback(dpa: &Dpa) -> Result<(Rdma, Connection, Connection), Error> {
    let rdma = { dpa.rdma() }.address(fresh_address());
    let rdma = rdma.connections(2).open()?;
    let (one, other) = meet(&rdma)?;
    Ok((rdma, one, other))
}

fn meet(rdma: &Rdma) -> Result<(Connection, Connection), Error> {
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    Ok((one, other))
}

#[test]
fn a_kernel_adds_to_a_peers_event_and_gives_completions_back() {
    both(async |dpa| {
        let at = fresh_address();
        let own = { dpa.rdma() }.address(at).completion_entries(16);
        let done: CompletionQueue = own.completion_queue()?;
        let rdma = { dpa.rdma() }.address(at).connections(2);
        let rdma = rdma.completions(&done).open()?;
        let (one, other) = meet(&rdma)?;
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Host)
            .create()?;
        let export = other.export_event(&event)?;
        let remote = RemoteSyncEvent::import(&export.export())?;
        for round in 1..=4 {
            let args = AddsToPeerArgs {
                rdma: &rdma,
                done: &done,
                event: remote.handle(),
                times: 10,
            };
            dpa.launch(adds_to_peer).args(args).submit()?.await?;
            assert_eq!(event.ge(20 * round).await?, 20 * round);
        }
        assert_eq!((done.entries(), done.has_overrun()), (16, false));
        one.disconnect();
        // The program has a limit in time: a connection that was ended says so.
        one.failed().await;
        Ok(())
    });
}

#[test]
fn a_kernel_sends_with_and_without_numbers() {
    both(async |dpa| {
        let (rdma, _one, _other) = loopback(&dpa)?;
        let mine = dpa.copy_in(&[0x55u8; 8]).await?;
        let theirs = dpa.zeroed::<u8>(24).await?;
        let (from, into) = (
            rdma.map(&mine, RemoteRights::empty())?,
            rdma.map(&theirs, RemoteRights::REMOTE_WRITE)?,
        );
        let told = SyncEvent::device_to_host(&dpa)?;
        let args = SendsEachWayArgs {
            rdma: &rdma,
            done: rdma.completions(),
            from: &from,
            into: &into,
            to: RemoteMemoryMap::import(&into.export())?,
            told: &told,
        };
        dpa.launch(sends_each_way).args(args).submit()?.await?;
        assert_eq!(told.get(), 321);
        assert_eq!(theirs.copy_out().await?, [0x55; 24]);
        Ok(())
    });
}

#[test]
fn a_kernel_holds_up_its_connection_until_an_event() {
    both(async |dpa| {
        let (rdma, one, other) = loopback(&dpa)?;
        let (mine, theirs) = (dpa.copy_in(&[0x77u8; 8]).await?, dpa.zeroed::<u8>(8).await?);
        let from = rdma.map(&mine, RemoteRights::empty())?;
        let into = rdma.map(&theirs, RemoteRights::REMOTE_WRITE)?;
        let go = SyncEvent::host_to_device(&dpa)?;
        let arrived = SyncEvent::builder(&dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Host)
            .create()?;
        let export = other.export_event(&arrived)?;
        let args = WritesBehindAWaitArgs {
            rdma: &rdma,
            go: go.handle(),
            value: 2,
            from: &from,
            to: RemoteMemoryMap::import(&into.export())?,
            arrived: RemoteSyncEvent::import(&export.export())?.handle(),
        };
        dpa.launch(writes_behind_a_wait)
            .args(args)
            .submit()?
            .await?;
        go.add(1)?;
        let early = arrived.ge(1).timeout(Duration::from_millis(20)).await;
        assert!(early.is_err(), "1 is not 2");
        assert_eq!(theirs.copy_out().await?, [0; 8]);
        go.add(1)?;
        arrived.ge(1).await?;
        assert_eq!(theirs.copy_out().await?, [0x77; 8]);
        drop((one, other));
        Ok(())
    });
}

#[test]
fn an_entry_says_what_was_put_into_it() {
    for seed in seeds(3) {
        let run = doca_dpa::Sim::new(seed).run(async |dpa| {
            let ops = dpa.async_ops().open().expect("a queue");
            let bytes = dpa.zeroed::<u8>(8).await?;
            let map = ops.map(&bytes)?;
            let seen = dpa.zeroed::<u64>(4).await?;
            let args = PutsAnEntryTogetherArgs {
                from: &map,
                seen: &seen,
            };
            dpa.launch(puts_an_entry_together)
                .args(args)
                .submit()?
                .await?;
            assert_eq!(seen.copy_out().await?, [1, 77, 4105, 34]);
            Ok::<_, Error>(())
        });
        run.expect("a simulation").value.expect("all well");
    }
}

#[test]
fn queues_and_outboxes_are_gone_when_they_are_dropped() {
    let device = open();
    let process = device.process().expect("a process");
    let nic = process.local_nic().expect("a NIC");
    let spec = CompletionSpec::default();
    let done = nic.raw_completion_queue(spec).expect("a queue");
    let receives: ReceiveQueue = nic.receive_queue(8).expect("a queue");
    let sends: SendQueue = nic.send_queue(8, &done, 3).expect("a queue");
    let page: Uar = process.uar().expect("a page");
    let outbox: Outbox = page.outbox().expect("an outbox");
    assert_eq!(outbox.uar().number(), page.number());
    let at = process.alloc(32, true).expect("memory");
    let args = GivesReceivesArgs {
        queue: &receives,
        into: DevAddr::from_raw(at),
        seen: DevAddr::from_raw(at + 16),
    };
    let (wire, kept) = args.into_args();
    let command = Command::kernel(gives_receives.entry(), wire).keep(kept);
    let submitted = command.submit(&process).map_err(|(error, _)| error);
    assert_eq!(submitted.expect("room").wait(), Some(Outcome::Completed));
    assert_eq!((word(&process, at + 16), word(&process, at + 24)), (0, 2));
    let with = process.memory_info().allocations;
    // In whatever order.
    drop((page, done, sends, receives, outbox));
    assert!(process.memory_info().allocations < with);
}

#[test]
fn an_entry_belongs_to_the_reader_by_its_owner_bit() {
    for phase in [true, false] {
        let mut seen = None;
        for owner_word in [u64::from(!phase) << 56, u64::from(phase) << 56] {
            let owner = CompletionEntry::owner(owner_word);
            assert_eq!(CompletionEntry::is_valid(owner_word, phase), owner != phase);
            assert_ne!(seen.replace(owner), Some(owner));
        }
    }
}

//! What the macros make of functions, run on a device of one thread.

mod fake;
#[path = "kernels/names.rs"]
mod names;
#[path = "kernels/queues.rs"]
mod queues;

use doca_dpa_dev::prelude::*;
use dpa_abi::arg::IntoArgs;
use dpa_abi::kernel::{Kernel, Rpc, WireOf, result_from_bits};
use dpa_abi::pod::Bytes;
use dpa_abi::port::Collective;
use dpa_abi::{HEAP_BASE, Handle, IntoArg};
use fake::{Device, EVENT, Fault};
use flexio_dev::SliceWire;

/// Stands for a host buffer; what it keeps shows that keep-alive travels.
#[derive(Clone, Copy)]
struct Buffer {
    at: u64,
    len: u64,
}

macro_rules! passes_for {
    ($($view:ty),*) => {$(
        impl IntoArg<$view> for Buffer {
            type Kept = u64;
            fn into_arg(self) -> (SliceWire, u64) {
                (SliceWire { addr: HEAP_BASE + self.at, len: self.len }, self.at)
            }
        }
    )*};
}

/// The packed arguments of a kernel, and what they keep alive, as a launch makes them.
macro_rules! wire {
    ($kernel:ty, $args:expr) => {{
        let (wire, kept) = IntoArgs::<<$kernel as KernelOrRpc>::Args>::into_args($args);
        (packed::<WireOf<<$kernel as KernelOrRpc>::Args>>(wire), kept)
    }};
}

passes_for!(
    DevSlice<'static, u32>,
    AtomicSlice<'static, u64>,
    DevSliceMut<'static, Point>
);

struct Event;

impl IntoArg<DevEvent<'static>> for Event {
    type Kept = &'static str;
    fn into_arg(self) -> (EventHandle, &'static str) {
        (EVENT, "the event")
    }
}

trait KernelOrRpc {
    type Args: dpa_abi::KernelArgs;
}
impl KernelOrRpc for count {
    type Args = <count as Kernel>::Args;
}
impl KernelOrRpc for stretch {
    type Args = <stretch as Kernel>::Args;
}
impl KernelOrRpc for total {
    type Args = <total as Rpc>::Args;
}

impl KernelOrRpc for sum_alike {
    type Args = <sum_alike as Rpc>::Args;
}

fn packed<W: Pod>(wire: W) -> Vec<u8> {
    let mut bytes = vec![0; W::SIZE];
    wire.store(&mut Bytes(&mut bytes[..]), 0);
    bytes
}

/// Counts.
#[dpa_kernel]
fn count(
    thread: &Thread,
    small: bool,
    samples: DevSlice<u32>,
    mut by: u16,
    bins: AtomicSlice<u64>,
    done: DevEvent,
) {
    by += u16::from(small);
    for i in thread.strided(samples.len()) {
        bins.at(samples.read(i) as usize).add(by.into());
    }
    thread.barrier();
    done.add(1).unwrap_or_else(|_| thread.error(1));
}

#[derive(Clone, Copy, Debug, PartialEq, Pod)]
struct Point {
    name: u8,
    x: i32,
    y: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Pod)]
struct Pair<T>(u8, T);

#[derive(Clone, Copy, Debug, PartialEq, Pod)]
struct Nothing;

#[derive(Arg)]
struct Shape<'t> {
    points: DevSliceMut<'t, Point>,
    by: i32,
}

#[derive(Arg)]
struct Both<'t> {
    first: Shape<'t>,
    event: DevEvent<'t>,
}

#[dpa_kernel]
fn stretch(thread: &Thread, both: Both<'_>) {
    let mut mine = thread.rank_slice(both.first.points);
    mine.update(|_, p| Point {
        x: p.x * both.first.by,
        ..p
    });
    assert_eq!(both.event.get(), 5);
}

#[dpa_rpc]
fn total(thread: &Thread, xs: DevSlice<u32>, less: i64) -> i64 {
    thread
        .strided(xs.len())
        .map(|i| i64::from(xs.read(i)))
        .sum::<i64>()
        - less
}

/// Types with names that macros might give their own; and what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Pod)]
struct A1 {
    x: u16,
    #[cfg(any())]
    never: u64,
    y: u16,
}

#[derive(Arg)]
struct A0<'t> {
    a: A1,
    #[cfg(any())]
    never: u64,
    b: DevSlice<'t, u32>,
}

/// As `total`, of things with other names.
#[dpa_rpc]
fn sum_alike(_thread: &Thread, first: A1, second: A0<'_>) -> u64 {
    let sum = [first.x, first.y, second.a.x, second.a.y].map(u64::from);
    sum.iter().sum::<u64>() + u64::from(second.b.read(0))
}

/// Nothing here warns of what is deprecated, but its use.
#[deny(deprecated)]
mod aged {
    use doca_dpa_dev::prelude::*;

    #[dpa_kernel]
    #[deprecated(note = "use another")]
    pub fn old(_thread: &Thread, _by: u32) {}

    #[deprecated(note = "use another")]
    #[dpa_rpc]
    pub fn old_call(_thread: &Thread, by: u32) -> u32 {
        by
    }
}

#[dpa_rpc]
fn half(_thread: &Thread, of: f32) -> f32 {
    of / 2.0
}

#[dpa_kernel]
fn talk<'t>(thread: &'t Thread<'t>) {
    info!(thread, "plain");
    error!(thread, "{} of {}", thread.rank(), thread.threads());
    debug!(thread, "{}", "\u{20ac}".repeat(300));
}

fn words<const N: usize>(values: [u64; N]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn arguments_travel_and_are_bound() {
    // Four samples (two words), then three bins.
    let device = Device::with_memory(&words([2 << 32 | 1, 1 << 32, 0, 0, 0]));
    let samples = Buffer { at: 0, len: 4 };
    let bins = Buffer { at: 16, len: 3 };
    let (bytes, kept) = wire!(
        count,
        CountArgs {
            small: true,
            samples,
            by: 9,
            bins,
            done: Event
        }
    );
    assert_eq!(kept, ((), 0, (), 16, "the event"));
    assert_eq!(bytes.len(), count.entry().arg_bytes);
    assert_eq!(bytes.len(), 8 + 16 + 8 + 16 + 8);
    for rank in 0..2 {
        device
            .run(rank, 2, |unit| (count.entry().run)(unit, &bytes))
            .unwrap();
    }
    assert_eq!(device.bytes()[16..], words([10, 20, 10]));
    assert_eq!(*device.event.borrow(), 2);
    assert_eq!(
        device.met.borrow()[..],
        [Collective::Barrier, Collective::Barrier]
    );
}

/// Runs `count` with these, which is a fault.
fn fault_of_count(device: &Device, samples: Buffer, bins: Buffer) -> Fault {
    let (bytes, _) = wire!(
        count,
        CountArgs {
            small: false,
            samples,
            by: 0,
            bins,
            done: Event
        }
    );
    device
        .run(0, 1, |unit| (count.entry().run)(unit, &bytes))
        .unwrap_err()
}

#[test]
fn an_argument_that_cannot_be_bound_is_a_fault_of_the_kernel() {
    let device = Device::with_memory(&[0; 16]);
    let samples = Buffer { at: 2, len: 1 };
    let bins = Buffer { at: 0, len: 1 };
    let fault = fault_of_count(&device, samples, bins);
    let expected = FaultKind::Unaligned {
        addr: HEAP_BASE + 2,
        align: 4,
    };
    assert_eq!(fault.kind, expected);
    assert_eq!(fault.file, count.entry().file);
    let lines = count.entry().line..count.entry().line + 12;
    assert!(lines.contains(&fault.line), "{fault:?}");
}

#[test]
fn an_index_out_of_bounds_is_a_fault_at_its_line() {
    let device = Device::with_memory(&words([5, 0]));
    let (samples, bins) = (Buffer { at: 0, len: 1 }, Buffer { at: 8, len: 1 });
    let fault = fault_of_count(&device, samples, bins);
    assert!(matches!(
        fault,
        Fault {
            kind: FaultKind::OutOfBounds { index: 5, len: 1 },
            ..
        }
    ));
    assert!(fault.line > count.entry().line && fault.file.ends_with("kernels.rs"));
}

#[test]
fn nested_arguments_keep_alive_what_they_refer_to() {
    let mut memory = vec![0; 3 * Point::SIZE];
    Point::encode_slice(&[1, 2, 3].map(|x| Point { name: 0, x, y: 7 }), &mut memory);
    let device = Device::with_memory(&memory);
    *device.event.borrow_mut() = 5;
    let points = Buffer { at: 0, len: 3 };
    let both = BothArg {
        first: ShapeArg { points, by: -2 },
        event: Event,
    };
    let (bytes, kept) = wire!(stretch, StretchArgs { both });
    assert_eq!(kept, (((0, ()), "the event"),));
    device
        .run(1, 2, |unit| (stretch.entry().run)(unit, &bytes))
        .unwrap();
    let mut points = [Point::zeroed(); 3];
    Point::decode_slice(&device.bytes()[..memory.len()], &mut points);
    assert_eq!(points.map(|p| (p.x, p.y)), [(1, 7), (2, 7), (-6, 7)]);
}

#[test]
fn calls_return_their_result() {
    let device = Device::with_memory(&words([7 << 32 | 3]));
    let xs = Buffer { at: 0, len: 2 };
    let (bytes, kept) = wire!(total, TotalArgs { xs, less: 11 });
    assert_eq!(kept, (0, ()));
    let bits = device
        .run(0, 1, |unit| (total.entry().run)(unit, &bytes))
        .unwrap();
    assert_eq!(result_from_bits::<i64>(bits), -1);
    let bytes = packed(3.0f32);
    let bits = device
        .run(0, 1, |unit| (half.entry().run)(unit, &bytes))
        .unwrap();
    assert_eq!(result_from_bits::<f32>(bits), 1.5);
    assert_eq!(half.entry().name, "half");
}

#[test]
fn types_may_be_named_as_the_parameters_of_macros() {
    let device = Device::with_memory(&words([5]));
    let a = A1 { x: 3, y: 4 };
    let b = Buffer { at: 0, len: 1 };
    let args = SumAlikeArgs {
        first: A1 { x: 1, y: 2 },
        second: A0Arg { a, b },
    };
    let (bytes, kept) = wire!(sum_alike, args);
    assert_eq!((kept, bytes.len()), (((), ((), 0)), 32));
    let bits = device
        .run(0, 1, |unit| (sum_alike.entry().run)(unit, &bytes))
        .unwrap();
    assert_eq!(bits, 15);
}

#[test]
#[expect(deprecated, reason = "that it says so is what is tested")]
fn what_is_deprecated_says_so_where_it_is_used() {
    assert_eq!(aged::old.entry().name, "old");
    assert_eq!(aged::old_call.entry().name, "old_call");
}

#[test]
fn plain_structs_are_laid_out_as_in_c() {
    assert_eq!((Point::SIZE, Point::ALIGN), (12, 4));
    assert_eq!((Pair::<u64>::SIZE, Pair::<u64>::ALIGN), (16, 8));
    assert_eq!((Pair::<Point>::SIZE, Pair::<u8>::SIZE), (16, 2));
    assert_eq!((Nothing::SIZE, Nothing::ALIGN), (0, 1));
    assert_eq!(
        packed(Point {
            name: 1,
            x: 2,
            y: -2
        }),
        [1, 0, 0, 0, 2, 0, 0, 0, 254, 255, 0, 0]
    );
    assert_eq!(Pair::<u16>::load(&Bytes([4, 9, 1, 2]), 0), Pair(4, 0x0201));
}

#[test]
fn messages_reach_the_device_cut_and_with_their_line() {
    let device = Device::default();
    device
        .run(3, 4, |unit| (talk.entry().run)(unit, &[]))
        .unwrap();
    let logged = device.logged.borrow();
    let line = talk.entry().line;
    assert_eq!(logged[0], (LogLevel::Info, "plain".into(), line + 2));
    assert_eq!(logged[1], (LogLevel::Error, "3 of 4".into(), line + 3));
    let (level, text, _) = &logged[2];
    assert_eq!((*level, text.len()), (LogLevel::Debug, 509 / 3 * 3 + 3));
    assert!(text.ends_with("\u{20ac}\u{2026}"));
}

#[dpa_kernel]
fn chat<'t>(thread: &'t Thread<'t>) {
    let stream = StreamHandle(Handle {
        index: 3,
        generation: 1,
    });
    let stale = StreamHandle(Handle {
        index: 3,
        generation: 2,
    });
    dpa_print!(thread, "rank {}", thread.rank());
    assert!(msg!(thread, stream, Warn, "{} of {}", 1, 2));
    assert!(msg!(thread, StreamHandle::BROADCAST, Info, "all"));
    assert!(!msg!(thread, stale, Error, "nobody"));
    // Kept back by its level: the text is not even looked at.
    assert!(msg!(thread, stream, Debug, "{Untold}"));
    thread.trace(1, 2, 3, 4, 5);
    thread.trace_flush();
}

struct Untold;

impl core::fmt::Display for Untold {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        panic!("formatted")
    }
}

#[test]
fn messages_and_records_reach_the_device() {
    let device = Device::default();
    device
        .run(3, 4, |unit| (chat.entry().run)(unit, &[]))
        .unwrap();
    let line = chat.entry().line;
    assert_eq!(
        device.logged.take(),
        [(LogLevel::Always, "rank 3".into(), line + 10)]
    );
    let printed = device.printed.take();
    let told: Vec<_> = printed
        .iter()
        .map(|(to, level, text)| (to.0.index, *level, &text[..]))
        .collect();
    assert_eq!(told[0], (3, LogLevel::Warn, "1 of 2"));
    assert_eq!(told[1], (255, LogLevel::Info, "all"));
    assert_eq!(told[2], (3, LogLevel::Error, "nobody"));
    assert_eq!(told.len(), 3);
    assert_eq!(device.traced.take(), [Some([1, 2, 3, 4, 5]), None]);
}

fn on_thread<R>(rank: u32, threads: u32, f: impl FnOnce(&Thread<'_>) -> R) -> Result<R, Fault> {
    Device::with_memory(&words([1, 2, 3, 4, 5])).run(rank, threads, |unit| {
        let context = ThreadContext::new(unit);
        f(&Thread::new(&context))
    })
}

#[test]
fn ranks_share_the_work() {
    let strided = |rank| on_thread(rank, 3, |t| t.strided(8).collect::<Vec<_>>()).unwrap();
    assert_eq!(
        [strided(0), strided(1), strided(2)],
        [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]
    );
    let chunk = |rank| on_thread(rank, 3, |t| t.chunk(8)).unwrap();
    assert_eq!([chunk(0), chunk(1), chunk(2)], [0..3, 3..6, 6..8]);
}

#[test]
fn a_rank_slice_ends_where_the_next_one_begins() {
    let at = DevAddr::<u64>::from_raw(HEAP_BASE);
    on_thread(1, 2, |t| {
        let mut mine = t.rank_slice(t.bind_mut(at, 5).unwrap());
        assert_eq!((mine.first(), mine.len(), mine.read(1)), (3, 2, 5));
        mine.write(0, 9);
        assert_eq!(t.bind(at, 5).unwrap().read(3), 9);
    })
    .unwrap();
    let beyond = on_thread(0, 2, |t| t.rank_slice(t.bind_mut(at, 5).unwrap()).read(3));
    assert_eq!(
        beyond.unwrap_err().kind,
        FaultKind::OutOfBounds { index: 3, len: 3 }
    );
}

#[test]
fn collectives_take_plain_values() {
    on_thread(0, 2, |t| {
        assert_eq!(t.broadcast(1, -1.5f32), -1.5);
        assert_eq!(t.reduce_signed(ReduceOp::Min, -4), -4);
        assert_eq!(t.reduce_signed(ReduceOp::Sum, -4), -4);
        assert_eq!(t.time(), Duration::from_millis(1500));
        assert_eq!(t.event(EVENT).wait(Condition::ge(0)), Ok(0));
    })
    .unwrap();
    let fault = on_thread(0, 2, |t| t.broadcast(2, 0u8)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::OutOfBounds { index: 2, len: 2 });
}

#[test]
fn signed_reductions_keep_the_signed_order() {
    let device = Device::default();
    let bits = |value| {
        device
            .run(0, 1, |unit| {
                Thread::new(&ThreadContext::new(unit)).reduce_signed(ReduceOp::Max, value)
            })
            .unwrap();
        match device.met.borrow_mut().pop() {
            Some(Collective::Reduce { value, .. }) => value,
            other => panic!("{other:?}"),
        }
    };
    let ordered = [i64::MIN, -1, 0, 1, i64::MAX].map(bits);
    assert!(ordered.is_sorted());
}

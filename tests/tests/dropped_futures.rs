//! Every public future is polled k times and then dropped, for k from 0 until it completes, at several seeds and with threads:
//! nothing is left, nothing hangs, what was dropped took nothing from the others, and what it worked on still works. Nobody keeps its
//! waker.
//!
//! The test that drops each (`cargo xtask tidy` sees to it that none is missing):
//!
//! | future, or what gives it | test |
//! |---|---|
//! | `doca_dpa::Call` | `launches::rule_3_a_call` |
//! | `doca_dpa::CommandQueue::idle` | `launches::a_command_queue_and_sleep` |
//! | `doca_dpa::Connection::compare_swap` | `work::rule_6_2_work_on_memory_of_the_peer` |
//! | `doca_dpa::Connection::failed` | `work::rule_6_7_a_connection_whose_end_is_awaited` |
//! | `doca_dpa::Connection::fetch_add` | `work::rule_6_2_work_on_memory_of_the_peer` |
//! | `doca_dpa::Connection::read` | `work::rule_6_2_work_on_memory_of_the_peer` |
//! | `doca_dpa::Connection::send` | `work::rule_6_2_sends_and_writes_that_use_up_a_receive` |
//! | `doca_dpa::Connection::send_imm` | `work::rule_6_2_sends_and_writes_that_use_up_a_receive` |
//! | `doca_dpa::Connection::signal_add` | `work::rule_6_2_signals` |
//! | `doca_dpa::Connection::signal_set` | `work::rule_6_2_signals` |
//! | `doca_dpa::Connection::write` | `work::rule_6_2_work_on_memory_of_the_peer` |
//! | `doca_dpa::Connection::write_imm` | `work::rule_6_2_sends_and_writes_that_use_up_a_receive` |
//! | `doca_dpa::DeviceBuffer::copy_out` | `memory::rule_4_2_copies_and_fills` |
//! | `doca_dpa::DeviceBuffer::fill` | `memory::rule_4_2_copies_and_fills` |
//! | `doca_dpa::DeviceBuffer::write` | `memory::rule_4_2_copies_and_fills` |
//! | `doca_dpa::Dpa::call` | `launches::rule_3_a_call` |
//! | `doca_dpa::Dpa::close` | `launches::rule_7_a_close_and_a_failure_that_is_awaited` |
//! | `doca_dpa::Dpa::close_within` | `launches::rule_7_a_close_that_waits_in_vain` |
//! | `doca_dpa::Dpa::copy_in` | `memory::rule_4_1_allocations_and_what_they_hold` |
//! | `doca_dpa::Dpa::failed` | `launches::rule_7_a_close_and_a_failure_that_is_awaited` |
//! | `doca_dpa::Dpa::flush_messages` | `messages::a_flush_of_all_streams` |
//! | `doca_dpa::Dpa::sleep` | `launches::a_command_queue_and_sleep` |
//! | `doca_dpa::Dpa::wait_idle` | `launches::rule_2_11_steps_of_a_stream_and_idleness` |
//! | `doca_dpa::Dpa::zeroed` | `memory::rule_4_1_allocations_and_what_they_hold` |
//! | `doca_dpa::EventCondition` | `events::rule_1_7_waits_for_an_event` |
//! | `doca_dpa::EventWait` | `events::rule_1_7_waits_with_a_timeout` |
//! | `doca_dpa::Launch` | `launches::rule_2_1_a_launch` |
//! | `doca_dpa::LaunchBuilder::submit` | `launches::rule_2_1_a_launch` |
//! | `doca_dpa::LaunchBuilder::submit_async` | `launches::rule_2_1_a_submission_that_waits_for_room` |
//! | `doca_dpa::Rdma::receive` | `work::rule_6_6_receives_and_their_buffers` |
//! | `doca_dpa::ReceiveOp` | `work::rule_6_6_receives_and_their_buffers` |
//! | `doca_dpa::Step` | `launches::rule_2_11_steps_of_a_stream_and_idleness` |
//! | `doca_dpa::StepBuilder::submit` | `launches::rule_2_11_steps_of_a_stream_and_idleness` |
//! | `doca_dpa::WorkOp` | `work::rule_6_2_work_on_memory_of_the_peer` |
//! | `dpa_model::CommandQueue::idle` | `model::jobs_of_a_command_queue` |
//! | `dpa_model::CompletionQueue::next` | `model::completions_of_a_queue` |
//! | `dpa_model::ConnectionRef::failed` | `model::queue_pairs_and_connections_that_fail` |
//! | `dpa_model::EventRef::wait` | `model::waits_for_an_event` |
//! | `dpa_model::HostWait` | `model::waits_for_an_event` |
//! | `dpa_model::MessageStream::flushed` | `model::flushes_of_a_stream` |
//! | `dpa_model::MessageStream::settled` | `model::flushes_of_a_stream` |
//! | `dpa_model::Process::at_rest` | `model::a_process_that_becomes_idle_comes_to_rest_or_stops` |
//! | `dpa_model::Process::idle` | `model::a_process_that_becomes_idle_comes_to_rest_or_stops` |
//! | `dpa_model::Process::stopped` | `model::a_process_that_becomes_idle_comes_to_rest_or_stops` |
//! | `dpa_model::Process::trace_settled` | `model::flushes_of_the_trace` |
//! | `dpa_model::QueuePairRef::failed` | `model::queue_pairs_and_connections_that_fail` |
//! | `dpa_model::Until` | `model::anything_that_tasks_wait_for` |
//! | `dpa_model::Until::new` | `model::anything_that_tasks_wait_for` |
//! | `dpa_model::Watch::failed` | `model::queue_pairs_and_connections_that_fail` |
//! | `flexio::CommandQueue::idle` | `low::jobs_of_a_command_queue` |
//! | `flexio::CompletionQueue::next` | `low::completions_of_a_queue` |
//! | `flexio::Flushing` | `low::flushes_of_one_stream_and_of_all` |
//! | `flexio::MessageStream::flushed` | `low::flushes_of_one_stream_and_of_all` |
//! | `flexio::ProcessRef::at_rest` | `low::a_process_that_becomes_idle_or_comes_to_rest` |
//! | `flexio::ProcessRef::failed` | `low::a_process_that_fails` |
//! | `flexio::ProcessRef::flush_all` | `low::flushes_of_one_stream_and_of_all` |
//! | `flexio::ProcessRef::idle` | `low::a_process_that_becomes_idle_or_comes_to_rest` |
//! | `flexio::QueuePair::failed` | `low::a_queue_pair_that_fails` |
//! | `sync_event::Event::wait` | `events::rule_1_7_waits_of_a_borrowed_event_and_of_one_that_they_hold` |
//! | `sync_event::WaitOwned` | `events::rule_1_7_waits_of_a_borrowed_event_and_of_one_that_they_hold` |
//! | `sync_event::WaitOwned::new` | `events::rule_1_7_waits_of_a_borrowed_event_and_of_one_that_they_hold` |

mod ends;
#[path = "dropped_futures/events.rs"]
mod events;
#[path = "dropped_futures/harness.rs"]
mod harness;
#[path = "dropped_futures/launches.rs"]
mod launches;
#[path = "dropped_futures/low.rs"]
mod low;
#[path = "dropped_futures/memory.rs"]
mod memory;
#[path = "dropped_futures/messages.rs"]
mod messages;
#[path = "dropped_futures/model.rs"]
mod model;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;
#[path = "dropped_futures/sink.rs"]
mod sink;
#[path = "dropped_futures/work.rs"]
mod work;

//! What every store promises: one `async fn` per promise, run by every store and public so that others can
//! run it over a store of their own.
//!
//! ```
//! use std::sync::Arc;
//! use stepwell_store::{MemoryStore, conformance::Subject};
//!
//! async fn memory() -> Subject {
//!     let store = Arc::new(MemoryStore::default());
//!     let killed = store.clone();
//!     Subject::new(store, move |session| killed.kill_session(session))
//! }
//!
//! stepwell_store::conformance_tests!(memory);
//! # fn main() {}
//! ```

pub mod commit;
pub mod kv;
pub mod lease;
pub mod outbox;
pub mod prune;
pub mod query;
pub mod session;
pub mod tail;
pub mod timers;
pub mod waits;
pub mod words;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::{SessionRef, Store};

/// An empty store to be judged, and what cannot be done through the trait.
pub struct Subject {
    store: Arc<dyn Store>,
    kill: Box<dyn Fn(SessionRef) + Send + Sync>,
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// Wraps a store. `kill` ends a session as a crash of its process would.
    pub fn new(store: Arc<dyn Store>, kill: impl Fn(SessionRef) + Send + Sync + 'static) -> Self {
        Self { store, kill: Box::new(kill), keep: Vec::new() }
    }

    /// Keeps something, such as a directory, for as long as the store is judged.
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(thing));
        self
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Ends a session as a crash of its process would.
    pub fn kill(&self, session: SessionRef) {
        (self.kill)(session);
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Runs one promise on a runtime of its own.
pub fn run(promise: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be built").block_on(promise);
}

/// Makes a test of every promise. Takes the path of an `async fn() -> Subject` that opens an empty store.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:path) => {
        $crate::conformance_tests!(@module $factory, commit:
            a_new_run_is_there_with_its_row_and_its_events
            a_run_that_exists_is_not_created_again
            a_batch_for_a_missing_run_is_refused
            a_stale_revision_is_refused_and_nothing_is_written
            a_revision_number_that_matches_by_accident_is_refused
            of_two_batches_on_one_revision_one_wins
            a_repeated_command_returns_its_first_outcome
            a_command_id_counts_for_its_run_alone
            the_base_is_checked_before_commands_and_leases
            a_refused_batch_does_not_sink_its_neighbours
            a_dropped_caller_does_not_undo_the_commit
            a_batch_is_found_by_its_id
            a_batch_without_events_moves_the_revision
            the_row_is_as_the_last_batch_said
            seq_has_no_gaps
            large_values_come_back_as_they_were
            odd_values_come_back_as_they_were
            a_definition_is_found_by_its_digest
            a_definition_is_found_by_name_and_version
            a_snapshot_shortens_the_tail
        );
        $crate::conformance_tests!(@module $factory, lease:
            a_lease_writes_its_start
            a_ready_item_is_leased_once
            starts_do_not_change_the_revision
            a_paused_run_is_not_leased
            a_finished_run_is_not_leased
            items_are_leased_by_priority_then_age
            the_priority_of_what_waits_is_seen
            an_item_not_yet_due_is_left_alone
            only_handlers_that_are_asked_for_are_leased
            only_the_asked_trees_are_leased
            an_answer_without_its_lease_is_refused_alone
            an_answered_lease_is_gone
            a_hand_over_is_leased_by_its_commit
            a_put_takes_the_place_of_a_lease
            a_removed_item_is_not_leased
            a_judgement_is_leased_without_a_start
            a_named_limit_holds_over_two_runs
            a_named_limit_is_taken_until_a_removed_lease_is_let_go
            only_what_fits_in_the_room_of_a_request_is_leased
            lazy_events_end_with_their_attempt
            lazy_events_ride_in_front_of_their_batch
        );
        $crate::conformance_tests!(@module $factory, session:
            sessions_are_told_apart
            a_session_has_its_label_as_long_as_it_lives
            a_closed_session_loses_its_leases
            a_killed_session_loses_its_leases
            a_lost_lease_is_given_back_once
            the_outcome_of_a_session_declared_dead_is_refused
            a_lease_that_is_not_lost_is_not_given_back
            strays_count_as_lost
            a_stray_that_is_leased_again_is_none
            a_renewal_names_what_the_store_does_not_know
            a_closed_session_neither_renews_nor_leases
            a_stalled_session_that_comes_back_changes_nothing
            a_hand_over_to_a_session_that_is_gone_is_refused
        );
        $crate::conformance_tests!(@module $factory, timers:
            due_timers_come_in_order_and_stay
            a_timer_is_replaced_and_removed_by_its_key
            a_timer_that_is_due_is_the_next_until_it_is_removed
            the_next_due_moment_counts_timers_and_delayed_work
        );
        $crate::conformance_tests!(@module $factory, waits:
            a_wait_is_found_open_and_closed
            waits_are_filtered
            waits_are_paged_without_gaps
        );
        $crate::conformance_tests!(@module $factory, query:
            metadata_is_filtered_by_containment
            runs_are_filtered
            runs_are_listed_newest_first_and_paged_without_gaps
            paging_is_exact_while_runs_are_added
            a_foreign_cursor_is_refused
            runs_are_found_by_prefix
            what_is_missing_is_not_found
        );
        $crate::conformance_tests!(@module $factory, tail:
            events_are_read_after_a_number
            a_commit_moves_the_counter_of_changes
            a_closed_store_is_unavailable
        );
        $crate::conformance_tests!(@module $factory, kv:
            state_is_written_over_the_expected_version_only
            state_without_expectation_is_written_over
            of_two_writers_with_one_expectation_one_wins
            state_is_deleted_over_the_expected_version_only
            states_are_listed_by_prefix_and_paged
        );
        $crate::conformance_tests!(@module $factory, outbox:
            a_message_stays_until_its_target_has_taken_it
            a_discarded_message_is_gone
            a_refused_batch_sends_and_takes_nothing
        );
        $crate::conformance_tests!(@module $factory, prune:
            old_finished_runs_are_pruned_with_all_that_is_theirs
            a_child_is_kept_as_long_as_its_root
            a_pruned_id_can_be_used_again
            runs_are_pruned_by_status_and_children_with_their_root
            one_ended_run_is_deleted_with_its_children
            a_dry_run_deletes_nothing_and_tells_what_would_go
        );
    };
    (@module $factory:path, $module:ident: $($promise:ident)+) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[test]
                fn $promise() {
                    $crate::conformance::run(async {
                        $crate::conformance::$module::$promise(&$factory().await).await;
                    });
                }
            )+
        }
    };
}

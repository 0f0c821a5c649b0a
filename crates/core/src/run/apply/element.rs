//! Steps with `for_each`: the list is known, its elements begin and end.

use crate::ids::Timestamp;
use crate::run::Run;
use crate::run::event::Payload;
use crate::run::execution::Fan;
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;

impl Run {
    pub(super) fn fanned_out(&mut self, ix: u32, items: Option<&Payload>, at: Timestamp) {
        self.value_bytes += items.map_or(0, |items| crate::context::value_bytes(items));
        let execution = &mut self.executions[ix as usize];
        if let Some(items) = items {
            execution.fan = Some(Box::new(Fan::of(items.clone())));
        } else if let Some(fan) = &mut execution.fan {
            (fan.next, fan.live) = (0, 0);
        }
        execution.started_at.get_or_insert(at);
        self.set_status(ix, ExecutionStatus::Waiting);
        self.fans.push(ix);
    }

    /// An element begins, or begins again in a new epoch.
    pub(super) fn element_activated(&mut self, ix: u32, of: Option<u32>, index: u32) {
        let Some(of) = of else { return };
        let generation = self.input_generation;
        let element = &mut self.executions[ix as usize];
        element.element = Some((of, index));
        element.error = None;
        element.finished_at = None;
        element.losses = 0;
        element.failed_attempts.clear();
        element.stale = false;
        element.rerun = false;
        if element.input_generation != generation {
            element.input_generation = generation;
            element.kept_key = None;
        }
        if let Some(fan) = &mut self.executions[of as usize].fan {
            if fan.elements.len() == index as usize {
                fan.elements.push(ix);
            }
            fan.next = index + 1;
            fan.live += 1;
        }
    }

    /// Takes note that an element has ended.
    pub(super) fn element_ended(&mut self, ix: u32) {
        let Some((of, _)) = self.exec(ix).element else { return };
        if let Some(fan) = &mut self.executions[of as usize].fan {
            fan.live = fan.live.saturating_sub(1);
        }
        self.fans.push(of);
    }

    /// Returns whether a step waits for elements instead of being attempted.
    pub(super) fn fans_out(&self, step: StepIx) -> bool {
        self.workflow.step(step).for_each.is_some()
    }
}

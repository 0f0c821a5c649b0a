//! Lists of runs and waits.

use stepwell_core::status::RunStatus;

use super::state::State;
use crate::error::Error;
use crate::metadata;
use crate::model::{Among, Page, Paged, RunFilter, RunRow, WaitFilter, WaitRow};
use crate::page::{cursor, cut};

impl State {
    pub(super) fn list_runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunRow>, Error> {
        let after = page.cursor.as_deref().map(cursor::read).transpose()?;
        let rows = self
            .by_creation
            .iter()
            .rev()
            .filter(|(at, run)| after.as_ref().is_none_or(|(t, id)| (*at, run.as_str()) < (*t, id.as_str())))
            .map(|(_, run)| &self.runs[run].row)
            .filter(|row| matches(filter, row));
        let items: Vec<RunRow> = rows.take(page.limit.saturating_add(1)).cloned().collect();
        Ok(cut(items, page.limit, |row| cursor::write(row.created_at, row.run.as_str())))
    }

    pub(super) fn list_waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error> {
        let after = page.cursor.as_deref().map(cursor::read).transpose()?;
        let mut rows: Vec<&WaitRow> = self
            .waits
            .values()
            .filter(|row| {
                let place = (row.opened_at, row.wait.as_str());
                after.as_ref().is_none_or(|(t, id)| place > (*t, id.as_str()))
            })
            .filter(|row| wait_matches(filter, row))
            .filter(|row| filter.root.as_ref().is_none_or(|root| self.runs[&row.run].row.root == *root))
            .collect();
        rows.sort_by(|a, b| (a.opened_at, &a.wait).cmp(&(b.opened_at, &b.wait)));
        let items = rows.into_iter().take(page.limit.saturating_add(1)).cloned().collect();
        Ok(cut(items, page.limit, |row: &WaitRow| cursor::write(row.opened_at, row.wait.as_str())))
    }
}

fn matches(filter: &RunFilter, row: &RunRow) -> bool {
    (filter.status.is_empty() || filter.status.contains(&row.state.status))
        && filter.workflow.as_ref().is_none_or(|name| *name == row.workflow)
        && filter.since.is_none_or(|since| row.created_at >= since)
        && filter.until.is_none_or(|until| row.created_at < until)
        && is_paused_so(filter, row)
        && is_among(&filter.among, row)
        && metadata::contains(&row.metadata, &filter.metadata)
}

fn is_paused_so(filter: &RunFilter, row: &RunRow) -> bool {
    row.state.status != RunStatus::Paused
        || filter.pause_reason.is_none_or(|reason| row.state.pause_reason == Some(reason))
}

fn is_among(among: &Among, row: &RunRow) -> bool {
    match among {
        Among::All => true,
        Among::Roots => row.parent.is_none(),
        Among::ChildrenOf(parent) => row.parent.as_ref() == Some(parent),
    }
}

fn wait_matches(filter: &WaitFilter, row: &WaitRow) -> bool {
    filter.state.is_none_or(|state| state == row.state)
        && filter.kind.as_ref().is_none_or(|kind| *kind == row.kind)
        && filter.assignee.as_ref().is_none_or(|assignee| row.assignee.as_ref() == Some(assignee))
        && filter.workflow.as_ref().is_none_or(|name| *name == row.workflow)
        && filter.run.as_ref().is_none_or(|run| *run == row.run)
        && filter.due_before.is_none_or(|due| row.deadline.is_some_and(|deadline| deadline < due))
        && metadata::contains(&row.metadata, &filter.metadata)
}

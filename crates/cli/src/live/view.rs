//! A run followed on a terminal: its events, its questions, the clock, the keys and the signals of the terminal, brought
//! together. At most ten pictures a second, and only when something has changed or a clock has ticked.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, WaitId};
use stepwell_core::run::Run;
use stepwell_core::run::wait::{Resolution, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_engine::Engine;
use stepwell_store::{Recorded, WaitState};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::asking::{Asking, Pressed};
use super::frame::{self, Frame, Size};
use super::keys::Keys;
use super::line::{Line, Paint};
use super::model::{Asked, Model, News};
use super::screen::Screen;
use super::tty::{self, Tty};
use super::{form, table};
use crate::children::{self, ChildQuestion, Children};
use crate::commands::list::now;
use crate::follow::{End, answer_with, failing, waits_for};
use crate::stop::Stop;
use crate::text;

/// Between two pictures there is so much time.
const PAUSE: Duration = Duration::from_millis(100);

/// Beside a question so many lines of the run are seen.
const LEAST: usize = 4;

/// What is drawn of a run, and who is asked.
#[derive(Debug)]
struct View {
    model: Model,
    terminal: Terminal,
    asking: Option<Asking>,
    /// Open questions of child runs, oldest first.
    of_children: Vec<ChildQuestion>,
    /// Questions that were asked here and left open, or cannot be asked.
    left: HashSet<WaitId>,
    /// Answered here.
    answered: HashSet<WaitId>,
    above: Vec<Line>,
    is_stale: bool,
    drawn_at: Option<Instant>,
    /// Questions are asked, and who answers them.
    asks: bool,
    by: String,
}

/// Follows a run to where it rests, drawing it, and asks its questions if `ask` and somebody is there to type.
pub(crate) async fn watch(
    engine: &Engine,
    model: Model,
    after: Seq,
    ask: bool,
    stop: &mut Stop,
) -> Result<End, ErrorObject> {
    let run = model.run.clone();
    let mut children = Children::of(engine, &run);
    for open in &model.waits {
        children.waits_for(&open.spec);
    }
    let mut view = View::open(model, ask);
    let mut signals = Signals::listen()?;
    let mut follow = engine.follow(&run, after);
    let mut fault = engine.fault();
    let failed = failing(&mut fault);
    tokio::pin!(failed);
    loop {
        view.ask_next();
        view.draw_if_due();
        let next_picture = view.next_picture();
        tokio::select! {
            // What is not waited for to its end is read again.
            events = follow.next() => {
                let events = events.inspect_err(|_| view.close())?;
                if events.is_empty() {
                    break;
                }
                for recorded in &events {
                    children.note(&recorded.event);
                }
                view.note(&events);
            }
            news = children.next() => {
                let news = news.inspect_err(|_| view.close())?;
                view.note_children(news);
            }
            _ = stop.asked() => {
                view.close();
                return Ok(End::Interrupted);
            }
            error = &mut failed => {
                view.close();
                return Ok(End::Failed(error));
            }
            keys = view.terminal.keys.next(), if view.asking.is_some() && tty::is_in_front() => {
                for key in keys {
                    view.is_stale = true;
                    match view.asking.as_mut().map(|asking| asking.press(key)) {
                        Some(Pressed::Answer(answer)) => view.answer(engine, answer).await,
                        Some(Pressed::Leave) => view.leave(),
                        Some(Pressed::Typing) | None => {}
                    }
                }
            }
            signal = signals.next() => match signal {
                Told::Resized => view.is_stale = true,
                Told::Suspend => view.terminal.suspend(),
            },
            () = tokio::time::sleep_until(next_picture) => {}
        }
    }
    let ended = engine.inspect(&run).await.inspect_err(|_| view.close())?;
    view.end(&ended);
    view.close();
    Ok(End::Rests(Some(Box::new(ended))))
}

/// What came of a question that was asked on the terminal.
#[derive(Debug)]
pub(crate) enum Closed {
    /// It is answered, and the run stands so.
    Answered(RunStatus),
    /// It is left open.
    Left,
    /// Somebody else has answered, or nobody may any longer.
    Elsewhere,
}

/// Asks one question on the terminal.
pub(crate) async fn ask(
    engine: &Engine,
    mut asking: Asking,
    by: &str,
    stop: &mut Stop,
) -> Result<Closed, ErrorObject> {
    let mut prompt = Prompt::open()?;
    let mut changes = engine.store().changes();
    let asked = loop {
        tokio::select! {
            pressed = prompt.pressed(&mut asking, Some(by), stop) => match pressed {
                Pressed::Answer(answer) => {
                    match engine.answer(&asking.wait, answer, Some(by.to_owned())).await {
                        Ok(receipt) => break Ok(Closed::Answered(receipt.status)),
                        Err(error) if error.code == Code::ANSWER_INVALID => asking.refused(&error.message),
                        Err(error) => break Err(error),
                    }
                }
                Pressed::Leave => break Ok(Closed::Left),
                Pressed::Typing => {}
            },
            _ = changes.changed() => {
                let row = engine.store().wait(&asking.wait).await;
                match row.map_err(|error| stepwell_engine::error::from_store(&error)) {
                    Ok(row) if row.state == WaitState::Open => {}
                    Ok(_) => break Ok(Closed::Elsewhere),
                    Err(error) => break Err(error),
                }
            }
        }
    };
    prompt.terminal.close();
    asked
}

/// Asks on the terminal what no run asks, such as which of several things is meant; none, if that is left open.
pub(crate) async fn choose(mut asking: Asking, stop: &mut Stop) -> Result<Option<Value>, ErrorObject> {
    let mut prompt = Prompt::open()?;
    let chosen = loop {
        match prompt.pressed(&mut asking, None, stop).await {
            Pressed::Answer(chosen) => break Some(chosen),
            Pressed::Leave => break None,
            Pressed::Typing => {}
        }
    };
    prompt.terminal.close();
    Ok(chosen)
}

/// One question on the terminal, and nothing else there.
#[derive(Debug)]
struct Prompt {
    terminal: Terminal,
    signals: Signals,
}

impl Prompt {
    fn open() -> Result<Self, ErrorObject> {
        let terminal = Terminal::open();
        terminal.forget_typed();
        Ok(Self { terminal, signals: Signals::listen()? })
    }

    /// Draws the question and waits until something comes of what is typed, or it should be drawn again.
    async fn pressed(&mut self, asking: &mut Asking, by: Option<&str>, stop: &mut Stop) -> Pressed {
        let size = tty::size();
        let (lines, cursor) = asking.lines(size.columns, 0, by, now());
        if tty::is_in_front() {
            self.terminal.draw(&[], &Frame { lines, cursor: Some(cursor) }, size);
        }
        tokio::select! {
            keys = self.terminal.keys.next(), if tty::is_in_front() => {
                let mut pressed = keys.into_iter().map(|key| asking.press(key));
                return pressed.find(|pressed| *pressed != Pressed::Typing).unwrap_or(Pressed::Typing);
            }
            _ = stop.asked() => return Pressed::Leave,
            signal = self.signals.next() => if signal == Told::Suspend {
                self.terminal.suspend();
            },
            // The time that is left ticks.
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        Pressed::Typing
    }
}

/// Returns who answers here, unless somebody says otherwise: the name that the system has for its user.
pub(crate) fn user() -> String {
    whoami::username().unwrap_or_else(|_| "somebody at the terminal".into())
}

impl View {
    fn open(model: Model, ask: bool) -> Self {
        let terminal = Terminal::open();
        let mut view = Self {
            model,
            asks: ask && terminal.tty.is_some(),
            terminal,
            asking: None,
            of_children: Vec::new(),
            left: HashSet::new(),
            answered: HashSet::new(),
            above: Vec::new(),
            is_stale: true,
            drawn_at: None,
            by: user(),
        };
        let open: Vec<WaitId> = view.model.waits.iter().map(|wait| wait.wait.clone()).collect();
        for wait in &open {
            view.opened(wait);
        }
        view
    }

    fn note(&mut self, events: &[Recorded]) {
        self.is_stale = true;
        for recorded in events {
            match self.model.note(&recorded.event, recorded.at) {
                Some(News::Opened(wait)) => self.opened(&wait),
                Some(News::Closed { wait, step, resolution }) => {
                    self.closed(&wait, step.as_str(), &resolution);
                }
                None => {}
            }
        }
    }

    /// Takes note of what has become of the questions of child runs.
    fn note_children(&mut self, news: children::News) {
        self.is_stale = true;
        for (asked, row) in news.closed {
            self.of_children.retain(|open| open.wait != asked.wait);
            let by = row.closed_by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            let how = match row.state {
                WaitState::Open => continue,
                WaitState::Answered => format!("answered{by}"),
                WaitState::Expired => "nobody answered in time".into(),
                WaitState::Withdrawn => "the question is withdrawn".into(),
            };
            self.gone(&asked.wait, &asked.name, &how);
        }
        for asked in news.opened {
            self.say_unless_asked(&asked.run, &asked.wait, &asked.name, &asked.spec);
            self.of_children.push(asked);
        }
    }

    /// Says what to type for what is not asked here.
    fn opened(&mut self, wait: &WaitId) {
        let Some(open) = self.model.waits.iter().find(|open| open.wait == *wait) else { return };
        let (run, name, spec) = (self.model.run.clone(), open.name(), open.spec.clone());
        self.say_unless_asked(&run, wait, &name, &spec);
    }

    fn say_unless_asked(&mut self, run: &RunId, wait: &WaitId, name: &str, spec: &WaitSpec) {
        let is_asked = match &spec.kind {
            WaitKind::Human(_) => self.asks && Asking::of(wait, name, spec).is_some(),
            WaitKind::Signal { .. } => false,
            // The picture says it all.
            WaitKind::Timer | WaitKind::Child(_) => return,
        };
        if !is_asked {
            self.left.insert(wait.clone());
            let (what, commands) = waits_for(run, wait, name, spec);
            self.say(&what);
            for command in commands {
                self.say(&text::line(&command));
            }
        }
    }

    fn closed(&mut self, wait: &WaitId, step: &str, resolution: &Resolution) {
        let how = match resolution {
            Resolution::Answered { value, by } => {
                let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                format!("answered{by}: {}", form::text_of(value))
            }
            Resolution::Defaulted { value } => {
                format!("nobody answered in time; the answer is {}", form::text_of(value))
            }
            Resolution::TimedOut => "nobody answered in time".into(),
            Resolution::Withdrawn => "the question is withdrawn".into(),
            Resolution::Signalled { .. }
            | Resolution::Fired
            | Resolution::ChildCompleted { .. }
            | Resolution::ChildFailed { .. } => return,
        };
        self.gone(wait, step, &how);
    }

    /// Says how a question was closed, unless that was done here, and asks it no longer.
    fn gone(&mut self, wait: &WaitId, name: &str, how: &str) {
        let was_asked = self.asking.take_if(|asking| asking.wait == *wait).is_some();
        if self.answered.remove(wait) {
            return;
        }
        let here = if was_asked { "; what was typed here was not sent" } else { "" };
        self.say(&format!("  {name}: {how}{here}"));
    }

    /// Asks the next open question, in order of the steps, if none is asked.
    fn ask_next(&mut self) {
        if self.asking.is_some() || !self.asks {
            return;
        }
        let Some(asking) = self.next_of_run().or_else(|| self.next_of_children()) else { return };
        self.asking = Some(asking);
        self.terminal.forget_typed();
        self.is_stale = true;
    }

    fn next_of_run(&self) -> Option<Asking> {
        let open = self.to_ask().min_by_key(|open| self.model.place(open))?;
        Asking::of(&open.wait, &open.name(), &open.spec)
    }

    fn next_of_children(&self) -> Option<Asking> {
        let open = self.of_children.iter().find(|open| !self.is_done(&open.wait))?;
        Asking::of(&open.wait, &open.name, &open.spec)
    }

    /// Returns the open questions of the run that nobody has answered or left here.
    fn to_ask(&self) -> impl Iterator<Item = &Asked> {
        let is_question = |open: &&Asked| matches!(open.spec.kind, WaitKind::Human(_));
        self.model.waits.iter().filter(is_question).filter(|open| !self.is_done(&open.wait))
    }

    fn is_done(&self, wait: &WaitId) -> bool {
        self.left.contains(wait) || self.answered.contains(wait)
    }

    async fn answer(&mut self, engine: &Engine, answer: Value) {
        let Some(asking) = &mut self.asking else { return };
        match engine.answer(&asking.wait, answer.clone(), Some(self.by.clone())).await {
            Ok(_) => {
                let told = format!("  {}: answered by {}: {}", asking.step, self.by, form::text_of(&answer));
                self.answered.insert(asking.wait.clone());
                self.asking = None;
                self.say(&told);
            }
            Err(error) if error.code == Code::ANSWER_INVALID => asking.refused(&error.message),
            // Whatever became of the question, its event tells; until then it is not asked again.
            Err(error) => {
                let told = format!("  {}: {}", asking.step, error.message);
                self.left.insert(asking.wait.clone());
                self.asking = None;
                self.say(&told);
            }
        }
    }

    /// Leaves a question open and says how it is answered later.
    fn leave(&mut self) {
        let Some(asking) = self.asking.take() else { return };
        self.say(&format!("  {} is left open", asking.step));
        for command in answer_with(&asking.wait, asking.question()) {
            self.say(&text::line(&command));
        }
        self.left.insert(asking.wait);
    }

    /// Says something that stays above the picture.
    fn say(&mut self, message: &str) {
        self.above
            .extend(text::lines(&text::message(message)).lines().map(|line| Line::of(Paint::Plain, line)));
    }

    fn next_picture(&self) -> Instant {
        /// While nothing ticks it is looked whether the terminal is ours again.
        const SELDOM: Duration = Duration::from_secs(1);
        if !tty::is_in_front() {
            return Instant::now() + SELDOM;
        }
        let Some(drawn) = self.drawn_at else { return Instant::now() };
        if self.is_stale {
            return drawn + PAUSE;
        }
        match self.model.began.filter(|_| frame::ticks(&self.model)) {
            Some(began) => {
                let past = now().ms_since(began) % 1_000;
                Instant::now() + Duration::from_millis(1_000 - past)
            }
            None => Instant::now() + SELDOM,
        }
    }

    fn draw_if_due(&mut self) {
        let is_due = self.drawn_at.is_none_or(|drawn| drawn.elapsed() >= PAUSE);
        if is_due && tty::is_in_front() {
            self.draw();
        }
    }

    fn draw(&mut self) {
        let size = tty::size();
        let frame = self.frame(size);
        self.terminal.draw(&std::mem::take(&mut self.above), &frame, size);
        self.is_stale = false;
        self.drawn_at = Some(Instant::now());
    }

    fn frame(&self, size: Size) -> Frame {
        let now = now();
        let columns = size.columns.saturating_sub(1);
        let room = size.lines.saturating_sub(1).max(1);
        let Some(asking) = &self.asking else {
            return Frame { lines: frame::picture(&self.model, columns, room, now), cursor: None };
        };
        let of_children = self.of_children.iter().map(|open| &open.wait).filter(|wait| !self.is_done(wait));
        let others = self.to_ask().map(|open| &open.wait).chain(of_children);
        let others = others.filter(|wait| **wait != asking.wait).count();
        let (asked, cursor) = asking.lines(size.columns, others, Some(&self.by), now);
        let rows = room.saturating_sub(asked.len()).max(LEAST.min(room));
        let mut lines = frame::picture(&self.model, columns, rows, now);
        lines.extend(asked);
        // Of a question that is too long the end is where somebody types.
        let lines = lines.split_off(lines.len().saturating_sub(room));
        Frame { lines, cursor: Some(cursor) }
    }

    /// Puts what came of the run in place of the picture.
    fn end(&mut self, run: &Run) {
        let size = tty::size();
        let mut lines = std::mem::take(&mut self.above);
        lines.extend(table::of(run, size.columns.saturating_sub(1)));
        self.terminal.draw(&lines, &Frame::default(), size);
    }

    fn close(&mut self) {
        self.terminal.close();
    }
}

/// The terminal with what is drawn on it.
#[derive(Debug)]
struct Terminal {
    screen: Screen,
    tty: Option<Tty>,
    keys: Keys,
}

impl Terminal {
    fn open() -> Self {
        let tty = Tty::take();
        Self { screen: Screen::new(tty::wants_colour()), keys: Keys::of(tty.as_ref()), tty }
    }

    fn draw(&mut self, above: &[Line], frame: &Frame, size: Size) {
        if let Some(tty) = &self.tty {
            tty.again();
        }
        tty::write(&self.screen.redraw(above, frame, size));
    }

    fn forget_typed(&self) {
        if let Some(tty) = &self.tty {
            tty.forget_typed();
        }
    }

    /// Stops this process as Ctrl-Z asks. What is drawn stays; the next picture stands below what the shell says.
    fn suspend(&mut self) {
        if tty::has_shell() {
            tty::write(&self.screen.leave());
            tty::stop_until_continued();
        }
    }

    /// Leaves the picture as it is and gives the terminal back.
    fn close(&mut self) {
        tty::write(&self.screen.leave());
        self.keys = Keys::of(None);
        self.tty = None;
    }
}

/// What the system tells about the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Resized,
    Suspend,
}

#[derive(Debug)]
struct Signals {
    resized: Signal,
    suspend: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ErrorObject> {
        let hear = |kind| {
            signal(kind).map_err(|error| {
                ErrorObject::new(Code::INTERNAL_ERROR, format!("signals cannot be received: {error}"))
            })
        };
        Ok(Self {
            resized: hear(SignalKind::window_change())?,
            suspend: hear(SignalKind::from_raw(libc::SIGTSTP))?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.resized.recv() => Told::Resized,
            _ = self.suspend.recv() => Told::Suspend,
        }
    }
}

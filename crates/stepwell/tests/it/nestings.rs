//! Random nestings of the parts of a pipeline come to what a plain program comes to, and call each function as often
//! (F24). `STEPWELL_SEED` takes the seed back that a failure prints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map as Object, Value, json};
use stepwell::{
    Branch, BranchFailure, Context, Engine, Map, Merge, Parallel, Pipeline, Refine, RefinementCheck, Repeat,
    Step, StepError,
};

use crate::support::open;

/// Splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// A part of a pipeline as data, which both the library and a plain program carry out.
enum Part {
    Step(u64),
    Branch(u64, Vec<Vec<Part>>),
    Parallel(u64, Merge, BranchFailure, Vec<Vec<Part>>),
    Map(u64, Vec<Part>),
    Repeat(u64, Vec<Part>),
    Refine(u64, Vec<Part>),
}

/// Makes random parts; each has a number of its own.
struct Maker {
    rng: Rng,
    next: u64,
}

impl Maker {
    fn chain(&mut self, depth: u32) -> Vec<Part> {
        let length = 1 + self.rng.below(3);
        (0..length).map(|_| self.part(depth)).collect()
    }

    fn chains(&mut self, depth: u32) -> Vec<Vec<Part>> {
        let count = 1 + self.rng.below(3);
        (0..count).map(|_| self.chain(depth)).collect()
    }

    fn part(&mut self, depth: u32) -> Part {
        self.next += 1;
        let id = self.next;
        let kind = if depth == 0 { 0 } else { self.rng.below(8) };
        match kind {
            0 | 1 => Part::Step(id),
            2 => Part::Branch(id, self.chains(depth - 1)),
            3 | 4 => {
                let merges = [Merge::ContextUpdate, Merge::KeepFirst, Merge::NoMerge, Merge::Overwrite];
                let merge = merges[self.rng.below(4) as usize];
                let failure =
                    if self.rng.below(2) == 0 { BranchFailure::Ignore } else { BranchFailure::Propagate };
                Part::Parallel(id, merge, failure, self.chains(depth - 1))
            }
            5 => Part::Map(id, self.chain(depth - 1)),
            6 => Part::Repeat(id, self.chain(depth - 1)),
            _ => Part::Refine(id, self.chain(depth - 1)),
        }
    }
}

/// A number that stands for a value.
fn mix(value: &Value) -> u64 {
    let text = value.to_string();
    text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(byte))) % 1_000_003
}

/// What a step does: it reads one key, writes or removes another, and now and then fails.
fn act(id: u64, input: &Value, get: impl Fn(&str) -> Option<Value>) -> Option<(u64, String, Option<Value>)> {
    let seen = get(&format!("k{}", (id + 1) % 3));
    let number = mix(&json!([id, input, seen]));
    let written = (!number.is_multiple_of(5)).then(|| json!(number % 3));
    (!number.is_multiple_of(13)).then(|| (number, format!("k{}", id % 3), written))
}

fn list(value: &Value) -> Vec<u64> {
    (0..mix(value) % 4).collect()
}

fn is_enough(id: u64, value: &Value) -> bool {
    mix(&json!([id, value])).is_multiple_of(2)
}

const ROUNDS: u32 = 4;

type Calls = Arc<Mutex<BTreeMap<u64, u32>>>;

/// How many items or branches of a part are under way at once at most; none: all.
fn limit(id: u64) -> Option<u32> {
    (id % 5 < 3).then_some((id % 5 + 1) as u32)
}

/// What happens while the library carries parts out.
#[derive(Clone, Default)]
struct Notes {
    calls: Calls,
    /// By part: what is under way now, and the most.
    under_way: Arc<Mutex<BTreeMap<u64, [u32; 2]>>>,
    /// They stand in a map, where a part is there several times, or in a branch whose failure is ignored, where nobody would
    /// count the end.
    is_uncounted: bool,
}

impl Notes {
    fn uncounted(&self) -> Self {
        Self { is_uncounted: true, ..self.clone() }
    }

    /// Returns the pipeline of an item or a branch, with steps around it that count what is under way.
    fn counted(&self, id: u64, body: Pipeline) -> Pipeline {
        if self.is_uncounted {
            return body;
        }
        let counts = |name: &str, begins: bool| {
            let under_way = self.under_way.clone();
            Step::new(name, move |_, value: Value| {
                let mut under_way = under_way.lock().unwrap();
                let [now, most] = under_way.entry(id).or_default();
                *now = if begins { *now + 1 } else { *now - 1 };
                *most = (*most).max(*now);
                async move { Ok(value) }
            })
        };
        Pipeline::from(counts("begins", true)).then(body).then(counts("ends", false))
    }
}

/// Makes the pipeline of the library.
fn built(parts: &[Part], notes: &Notes) -> Pipeline {
    parts.iter().fold(Pipeline::new("part"), |pipeline, part| match part {
        Part::Step(id) => pipeline.then(step(*id, notes.calls.clone())),
        Part::Branch(id, ways) => {
            let count = ways.len() as u64;
            let choose = move |value: &Value, _: &Context| Ok((mix(value) % (count + 1)).to_string());
            let branch = Branch::on(&format!("p{id}"), choose);
            let ways = ways.iter().enumerate();
            let branch = ways.fold(branch, |branch, (n, way)| branch.case(&n.to_string(), built(way, notes)));
            let branch = branch.otherwise(Pipeline::new("nothing"));
            let branch = match id % 3 {
                0 => branch,
                1 => branch.input(|value: &Value, _, key| Ok(json!([key, value]))),
                _ => branch.output(|value: &Value, _, key| Ok(json!([value, key]))),
            };
            pipeline.then(branch)
        }
        Part::Parallel(id, merge, failure, ways) => {
            let parallel = Parallel::new(&format!("p{id}")).merge(*merge).on_branch_failure(*failure);
            let ways = ways.iter().enumerate();
            let parallel = ways.fold(parallel, |parallel, (n, way)| {
                // In the order of declaration, which is not that of the names.
                let way = match failure {
                    BranchFailure::Propagate => notes.counted(*id, built(way, notes)),
                    BranchFailure::Ignore => built(way, &notes.uncounted()),
                };
                parallel.branch(&format!("w{}", 9 - n), way)
            });
            let parallel = limit(*id).into_iter().fold(parallel, Parallel::max_concurrent);
            pipeline.then(if id % 2 == 0 { parallel } else { parallel.reduce(|all: &Value| Ok(mix(all))) })
        }
        Part::Map(id, body) => {
            let listed = Step::new(&format!("l{id}"), |_, value: Value| async move { Ok(list(&value)) });
            let map = Map::each(&format!("p{id}"), notes.counted(*id, built(body, &notes.uncounted())));
            pipeline.then(listed).then(limit(*id).into_iter().fold(map, Map::max_concurrent))
        }
        Part::Repeat(id, body) => {
            let id = *id;
            let until = move |value: &Value, _: &Context| Ok(is_enough(id, value));
            let again = |value: &Value, _: &Context, round: u32| Ok(json!([value, round]));
            let repeat =
                Repeat::until(&format!("p{id}"), built(body, notes), until).max(ROUNDS).next_input(again);
            pipeline.then(if id % 2 == 0 {
                repeat
                    .first_input(|value: &Value, _| Ok(json!({ "first": value })))
                    .output(|value: &Value, _| Ok(json!([value])))
            } else {
                repeat
            })
        }
        Part::Refine(id, body) => {
            let id = *id;
            let judge = move |_: Context, draft: Value| async move {
                Ok(RefinementCheck { is_complete: is_enough(id, &draft), feedback: draft })
            };
            let again = |input: &Value, draft: &Value, check: &RefinementCheck| {
                assert_eq!(*draft, check.feedback);
                Ok(json!([input, draft]))
            };
            let refine = Refine::new(&format!("p{id}"), built(body, notes), Step::new("judge", judge));
            pipeline.then(refine.max(ROUNDS).next_input(again))
        }
    })
}

fn step(id: u64, calls: Calls) -> Step {
    Step::new(&format!("s{id}"), move |cx: Context, input: Value| {
        let calls = calls.clone();
        async move {
            *calls.lock().unwrap().entry(id).or_default() += 1;
            tokio::task::yield_now().await;
            let acted = act(id, &input, |key| cx.get(key).unwrap());
            let (number, key, written) = acted.ok_or_else(|| StepError::never_again("bad luck"))?;
            match written {
                Some(value) => cx.set(&key, &value)?,
                None => cx.remove(&key)?,
            }
            Ok(number)
        }
    })
}

/// The same, carried out plainly.
#[derive(Clone, Default)]
struct Plain {
    context: Object<String, Value>,
    /// By key: what was written; none: it was removed.
    writes: BTreeMap<String, Option<Value>>,
}

/// A failure that nobody took care of.
struct Failed;

impl Plain {
    fn write(&mut self, key: String, value: Option<Value>) {
        match &value {
            Some(value) => self.context.insert(key.clone(), value.clone()),
            None => self.context.remove(&key),
        };
        self.writes.insert(key, value);
    }

    fn chain(&mut self, parts: &[Part], input: Value, log: &mut Log) -> Result<Value, Failed> {
        parts.iter().try_fold(input, |value, part| self.part(part, value, log))
    }

    /// Carries a branch out on what is there now, and returns what it came to with what it wrote.
    fn branch(&self, parts: &[Part], input: Value, log: &mut Log) -> Result<(Value, Self), Failed> {
        let mut branch = Self { context: self.context.clone(), writes: BTreeMap::new() };
        Ok((branch.chain(parts, input, log)?, branch))
    }

    fn merge(&mut self, merge: Merge, branches: Vec<Self>) {
        let mut all = BTreeMap::new();
        for (key, value) in branches.into_iter().flat_map(|branch| branch.writes) {
            match merge {
                Merge::NoMerge => {}
                Merge::KeepFirst => drop(all.entry(key).or_insert(value)),
                _ => drop(all.insert(key, value)),
            }
        }
        for (key, value) in all {
            self.write(key, value);
        }
    }

    fn part(&mut self, part: &Part, input: Value, log: &mut Log) -> Result<Value, Failed> {
        match part {
            Part::Step(id) => {
                *log.calls.entry(*id).or_default() += 1;
                let acted = act(*id, &input, |key| self.context.get(key).cloned());
                let Some((number, key, written)) = acted else {
                    log.failed = true;
                    return Err(Failed);
                };
                self.write(key, written);
                Ok(json!(number))
            }
            Part::Branch(id, ways) => {
                let key = mix(&input) % (ways.len() as u64 + 1);
                let input = if id % 3 == 1 { json!([key.to_string(), input]) } else { input };
                let output = match ways.get(key as usize) {
                    Some(way) => self.chain(way, input, log)?,
                    None => input,
                };
                Ok(if id % 3 == 2 { json!([output, key.to_string()]) } else { output })
            }
            Part::Parallel(id, merge, failure, ways) => {
                let (mut outputs, mut branches) = (Object::new(), Vec::new());
                for (n, way) in ways.iter().enumerate() {
                    let output = match self.branch(way, input.clone(), log) {
                        Ok((output, branch)) => {
                            branches.push(branch);
                            output
                        }
                        Err(Failed) if *failure == BranchFailure::Ignore => Value::Null,
                        Err(Failed) => return Err(Failed),
                    };
                    outputs.insert(format!("w{}", 9 - n), output);
                }
                self.merge(*merge, branches);
                let outputs = Value::Object(outputs);
                Ok(if id % 2 == 0 { outputs } else { json!(mix(&outputs)) })
            }
            Part::Map(_, body) => {
                let (mut outputs, mut branches) = (Vec::new(), Vec::new());
                for item in list(&input) {
                    let (output, branch) = self.branch(body, json!(item), log)?;
                    outputs.push(output);
                    branches.push(branch);
                }
                self.merge(Merge::ContextUpdate, branches);
                Ok(Value::Array(outputs))
            }
            Part::Repeat(id, body) => {
                let maps = id % 2 == 0;
                let mut value = if maps { json!({ "first": input }) } else { input };
                for round in 1..=ROUNDS {
                    value = self.chain(body, value, log)?;
                    if is_enough(*id, &value) {
                        return Ok(if maps { json!([value]) } else { value });
                    }
                    value = json!([value, round]);
                }
                log.failed = true;
                Err(Failed)
            }
            Part::Refine(id, body) => {
                let mut value = input.clone();
                for _ in 0..ROUNDS {
                    let draft = self.chain(body, value, log)?;
                    if is_enough(*id, &draft) {
                        return Ok(draft);
                    }
                    value = json!([input, draft]);
                }
                log.failed = true;
                Err(Failed)
            }
        }
    }
}

#[derive(Default)]
struct Log {
    calls: BTreeMap<u64, u32>,
    /// Something failed, though perhaps somebody took care of it: who was cancelled for it is a matter of time.
    failed: bool,
}

/// Returns whether the run completed.
async fn agree(engine: &Engine, seed: u64) -> bool {
    let mut maker = Maker { rng: Rng(seed), next: 0 };
    let parts = maker.chain(3);
    let noted = Notes::default();
    let pipeline =
        Pipeline::new(&format!("random {seed}")).then(built(&parts, &noted)).build(engine).unwrap();
    let (mut plain, mut log) = (Plain::default(), Log::default());
    let expected = plain.chain(&parts, json!(seed), &mut log);
    let came_to = pipeline.run(seed).await;
    let completed = came_to.is_ok();
    match (came_to, expected) {
        (Ok(result), Ok(expected)) => {
            assert_eq!(result.output, expected, "seed {seed}");
            assert_eq!(result.context, plain.context, "seed {seed}");
            let run = engine.inspect(&result.run_id).await.unwrap();
            let kept = run.context().reserved("");
            assert!(kept.is_empty(), "seed {seed}: {kept:?} is left");
        }
        (Err(_), Err(Failed)) => {}
        (came_to, expected) => {
            let expected = expected.map_err(|Failed| "a failure");
            panic!("seed {seed}: {came_to:?} in place of {expected:?}");
        }
    }
    if !log.failed {
        assert_eq!(*noted.calls.lock().unwrap(), log.calls, "seed {seed}");
    }
    for (id, [_, most]) in noted.under_way.lock().unwrap().iter() {
        assert!(limit(*id).is_none_or(|limit| *most <= limit), "seed {seed}: {most} of p{id} at once");
    }
    completed
}

#[tokio::test]
async fn f24_random_nestings_come_to_what_a_plain_program_comes_to() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let cases = number("STEPWELL_TEST_CASES").unwrap_or(0) / 100;
    let seeds: Vec<u64> =
        number("STEPWELL_SEED").map_or_else(|| (1..=cases.max(100)).collect(), |seed| vec![seed]);
    let mut completed = 0;
    for some in seeds.chunks(25) {
        let engine = open(&stepwell::open_store("memory:").await.unwrap()).await;
        for seed in some {
            completed += usize::from(agree(&engine, *seed).await);
        }
        engine.shutdown().await;
    }
    let tried = seeds.len();
    assert!(
        tried == 1 || completed * 4 > tried,
        "{completed} of {tried} completed: the shapes prove too little"
    );
}

"""Steps of pipelines: functions, questions, and what holds other steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, overload

from stepwell import _step_checks as check
from stepwell.errors import ConfigurationError
from stepwell.step_config import BranchFailureStrategy, MergeStrategy, StepConfig

if TYPE_CHECKING:
    from stepwell._lowering import Lowering
    from stepwell.human_step import HumanInTheLoopStep
    from stepwell.pipeline import Pipeline

#: What makes the description of a step for the engine.
_Describe = Callable[["Lowering"], dict[str, Any]]


class Step:
    """A step of a pipeline: a function from its input to its output, and how it is run.

    The function takes `(data)`, `(data, *, context)` or `(data, *, context, resources)`. A coroutine function runs on
    the event loop, a plain one on a thread of its own. What it returns must be JSON; dataclasses and pydantic models
    are made JSON of. Steps are put together with `>>`.

    >>> shorten = Step("shorten", lambda text: text[:4])
    >>> count = Step("count", lambda text: len(text))
    >>> (shorten >> count).name
    'pipeline-shorten'
    """

    _name: str
    _describe: _Describe
    _is_function: bool = False
    _pipeline: Pipeline | None = None

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        config: StepConfig | None = None,
        max_retries: int | None = None,
        timeout_s: float | None = None,
        fallback_step: Step | Callable[..., Any] | None = None,
        updates_context: bool = False,
        sink_to: str | None = None,
        usage_limits: Any = None,
        estimate_usd: Any = None,
        estimate_tokens: Any = None,
        **unsupported: Any,
    ) -> None:
        """Make a step of a function.

        Args:
            name: 1 to 120 characters, without `/`; unique beside it in its pipeline.
            fn: The function.
            config: How it is run, or:
            max_retries: So many attempts after the first; 1 if nothing is said.
            timeout_s: Seconds that an attempt may take.
            fallback_step: Runs once, with the same input, after the last attempt failed; its output is the step's.
            updates_context: What it returns, a dict, is written to the context.
            sink_to: Where in the context its output is kept as well: a key, or a place such as `report.title`.
            usage_limits: Not carried out yet, as `estimate_usd` and `estimate_tokens`.
            unsupported: What other engines know and this one does not; it is refused.

        Raises:
            ConfigurationError: What is given cannot be a step.
        """
        problems = check.unsupported(unsupported, ("plugins", "processors", "validators", "granular"))
        budget = {
            "usage_limits": usage_limits,
            "estimate_usd": estimate_usd,
            "estimate_tokens": estimate_tokens,
        }
        problems += [check.no_budgets(what) for what, given in budget.items() if given is not None]
        retries, timeout = check.config(config, max_retries, timeout_s, problems)
        shape = check.shape(fn, "fn", problems)
        fallback = None
        if fallback_step is not None:
            fallback = check.fallback(fallback_step, problems)
        check.place("sink_to", sink_to, problems)
        check.refuse(name, problems)

        def describe(to: Lowering) -> dict[str, Any]:
            return {
                "kind": "step",
                "name": name,
                "function": to.step(shape),
                "max_retries": retries,
                "timeout": timeout,
                "fallback": None if fallback is None else to.step(fallback),
                "updates_context": bool(updates_context),
                "sink_to": sink_to,
                "cached": False,
            }

        self._name, self._describe, self._is_function = check.checked(name), describe, True
        self._function, self._plain_config = fn, (retries, timeout) == (1, None) and fallback is None

    @classmethod
    def _made(cls, name: str, describe: _Describe) -> Step:
        step = object.__new__(Step)
        step._name, step._describe = check.checked(name), describe
        return step

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @classmethod
    def from_callable(cls, fn: Callable[..., Any], name: str | None = None, **options: Any) -> Step:
        """Make a step of a function, named as it is if no name is given; the options are those of `Step`."""
        return cls(name or check.name_of(fn), fn, **options)

    @classmethod
    def human_in_the_loop(
        cls,
        name: str,
        message_for_user: str | None = None,
        input_schema: Any = None,
        **options: Any,
    ) -> HumanInTheLoopStep:
        """Ask a person; the answer is the output. The options are those of `HumanInTheLoopStep`."""
        from stepwell.human_step import HumanInTheLoopStep

        return HumanInTheLoopStep(name, message_for_user, input_schema, **options)

    @classmethod
    def loop_until(
        cls,
        name: str,
        loop_body_pipeline: Step | Pipeline,
        exit_condition_callable: Callable[..., Any],
        max_loops: int = 5,
        initial_input_to_loop_body_mapper: Callable[..., Any] | None = None,
        iteration_input_mapper: Callable[..., Any] | None = None,
        loop_output_mapper: Callable[..., Any] | None = None,
    ) -> Step:
        """Repeat steps until a condition holds.

        Args:
            name: Its name.
            loop_body_pipeline: What is repeated; each round is given what the one before it came to.
            exit_condition_callable: `(output, context) -> bool`, asked after each round, once.
            max_loops: After so many rounds the step fails with `LOOP_LIMIT`.
            initial_input_to_loop_body_mapper: `(input, context)`: what the first round is given instead.
            iteration_input_mapper: `(output, context, rounds)`: what each further round is given instead.
            loop_output_mapper: `(output, context)`: what the output is instead.

        >>> from stepwell import Flujo
        >>> grow = Step.loop_until("grow", Step("double", lambda n: n * 2), lambda n, context: n > 100, max_loops=9)
        >>> Flujo(grow, persist_state=False).run(3).output
        192
        """
        problems: list[str] = []
        condition = check.called(exit_condition_callable, "exit_condition_callable", 2, problems)
        first = check.called(
            initial_input_to_loop_body_mapper, "initial_input_to_loop_body_mapper", 2, problems
        )
        further = check.called(iteration_input_mapper, "iteration_input_mapper", 3, problems)
        output = check.called(loop_output_mapper, "loop_output_mapper", 2, problems)
        body = check.body(loop_body_pipeline, "loop_body_pipeline", problems)
        rounds = check.count("max_loops", max_loops, problems)
        check.refuse(name, problems)
        return cls._made(
            name,
            lambda to: {
                "kind": "loop",
                "name": name,
                "body": to.parts(body),
                "until": to.decides(condition, bool),
                "max": rounds,
                "first_input": to.makes(first),
                "next_input": to.makes(further),
                "output": to.makes(output),
            },
        )

    @classmethod
    def refine_until(
        cls,
        name: str,
        generator_pipeline: Step | Pipeline,
        critic_pipeline: Step | Pipeline,
        max_refinements: int = 5,
        feedback_mapper: Callable[..., Any] | None = None,
    ) -> Step:
        """Make a draft again until a critic has nothing more to say; the output is the draft.

        Args:
            name: Its name.
            generator_pipeline: Makes the draft of what came in.
            critic_pipeline: Its last step returns a `RefinementCheck`.
            max_refinements: After so many drafts the step fails with `LOOP_LIMIT`.
            feedback_mapper: `(input, check)`: what the generator is given for each further draft; without it what came
                in, again.
        """
        problems: list[str] = []
        mapper = check.called(feedback_mapper, "feedback_mapper", 2, problems)
        generator = check.body(generator_pipeline, "generator_pipeline", problems)
        critic = check.body(critic_pipeline, "critic_pipeline", problems)
        rounds = check.count("max_refinements", max_refinements, problems)
        check.refuse(name, problems)
        return cls._made(
            name,
            lambda to: {
                "kind": "refine",
                "name": name,
                "generator": to.parts(generator),
                "critic": to.parts(critic),
                "max": rounds,
                "next_input": to.refines(mapper),
            },
        )

    @classmethod
    def branch_on(
        cls,
        name: str,
        condition_callable: Callable[..., Any],
        branches: Mapping[Any, Step | Pipeline],
        default_branch_pipeline: Step | Pipeline | None = None,
        branch_input_mapper: Callable[..., Any] | None = None,
        branch_output_mapper: Callable[..., Any] | None = None,
    ) -> Step:
        """Go one of several ways; the output is that of the way.

        Args:
            name: Its name.
            condition_callable: `(input, context) -> key`, asked once.
            branches: The ways by key.
            default_branch_pipeline: The way for every other key; without it such a key fails with `NO_BRANCH`.
            branch_input_mapper: `(input, context)` or `(input, context, key)`: what the way is given instead.
            branch_output_mapper: `(output, context)` or `(output, context, key)`: what the output is instead.
        """
        problems: list[str] = []
        condition = check.called(condition_callable, "condition_callable", 2, problems)
        maps_input = check.called(branch_input_mapper, "branch_input_mapper", (2, 3), problems)
        maps_output = check.called(branch_output_mapper, "branch_output_mapper", (2, 3), problems)
        ways = check.bodies(branches, "branches", problems)
        otherwise = None
        if default_branch_pipeline is not None:
            otherwise = check.body(default_branch_pipeline, "default_branch_pipeline", problems)
        check.refuse(name, problems)
        return cls._made(
            name,
            lambda to: {
                "kind": "branch",
                "name": name,
                "choose": to.decides(condition, check.branch_name),
                "cases": [[key, to.parts(way)] for key, way in ways.items()],
                "otherwise": None if otherwise is None else to.parts(otherwise),
                "input": to.makes(maps_input),
                "output": to.makes(maps_output),
            },
        )

    @classmethod
    def parallel(
        cls,
        name: str,
        branches: Mapping[Any, Step | Pipeline],
        context_include_keys: Sequence[str] | None = None,
        merge_strategy: MergeStrategy | str = MergeStrategy.CONTEXT_UPDATE,
        on_branch_failure: BranchFailureStrategy | str = BranchFailureStrategy.PROPAGATE,
        reduce: Callable[..., Any] | None = None,
        max_concurrent: int | None = None,
        **unsupported: Any,
    ) -> Step:
        """Go several ways side by side; the output is a dict of theirs, by branch.

        Args:
            name: Its name.
            branches: The branches by name; each is given what comes in.
            context_include_keys: The keys of the context that they see; without it all.
            merge_strategy: What becomes of what they write to the context.
            on_branch_failure: What the failure of one does to the others.
            reduce: `(outputs)`: what the output is instead.
            max_concurrent: So many at once.
            unsupported: What other engines know and this one does not; it is refused.
        """
        problems = check.unsupported(unsupported, ("field_mapping", "ignore_branch_names"))
        reducer = check.called(reduce, "reduce", 1, problems)
        ways = check.bodies(branches, "branches", problems)
        merge = check.member("merge_strategy", merge_strategy, MergeStrategy, problems)
        failure = check.member("on_branch_failure", on_branch_failure, BranchFailureStrategy, problems)
        at_once = None if max_concurrent is None else check.count("max_concurrent", max_concurrent, problems)
        keys = None if context_include_keys is None else check.keys(context_include_keys, problems)
        check.refuse(name, problems)
        return cls._made(
            name,
            lambda to: {
                "kind": "parallel",
                "name": name,
                "branches": [[key, to.parts(way)] for key, way in ways.items()],
                "merge": str(merge),
                "ignores_failures": failure is BranchFailureStrategy.IGNORE,
                "context_keys": keys,
                "reduce": to.reduces(reducer),
                "max_concurrent": at_once,
            },
        )

    @classmethod
    def map_over(
        cls,
        name: str,
        pipeline_to_run: Step | Pipeline,
        iterable_input: str | None = None,
        max_concurrent: int | None = None,
    ) -> Step:
        """Do the same with each item of a list, side by side; the output is a list in the order of the items.

        Args:
            name: Its name.
            pipeline_to_run: What is done with an item.
            iterable_input: Where in the context the list is, such as `report.rows`; without it, it is what comes in.
            max_concurrent: So many items at once.

        >>> from stepwell import Flujo
        >>> Flujo(Step.map_over("squares", Step("square", lambda n: n * n)), persist_state=False).run([3, 1, 2]).output
        [9, 1, 4]
        """
        problems: list[str] = []
        body = check.body(pipeline_to_run, "pipeline_to_run", problems)
        at_once = None if max_concurrent is None else check.count("max_concurrent", max_concurrent, problems)
        check.place("iterable_input", iterable_input, problems)
        check.refuse(name, problems)
        return cls._made(
            name,
            lambda to: {
                "kind": "map",
                "name": name,
                "body": to.parts(body),
                "over": iterable_input,
                "max_concurrent": at_once,
            },
        )

    @classmethod
    def cached(cls, wrapped_step: Step, cache_backend: Any = None) -> Step:
        """Remember the last 1 000 outputs of a step, by input, while its store is open here; failures are forgotten.

        Each call of `Flujo.run` opens the store anew; within one event loop `run_async` keeps it open.
        """
        problems = []
        if not getattr(wrapped_step, "_is_function", False):
            problems.append(f"wrapped_step must be a step of a function, not {wrapped_step!r}")
        if cache_backend is not None:
            problems.append("a cache_backend cannot be given: what is remembered stays in the process")
        check.refuse(getattr(wrapped_step, "name", "cached"), problems)
        return cls._made(wrapped_step.name, lambda to: {**wrapped_step._describe(to), "cached": True})

    @classmethod
    def dynamic_parallel_branch(cls, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse to be made: this engine has no such step."""
        raise ConfigurationError(
            "there is no dynamic_parallel_branch: which branches run is decided when the pipeline is built",
            hint="`Step.map_over` runs one pipeline per item, `Step.branch_on` chooses one of several",
        )

    def __rshift__(self, other: Step | Pipeline) -> Pipeline:
        """Return a pipeline that goes on with another step or pipeline."""
        return self._alone() >> other

    def _alone(self) -> Pipeline:
        """Return the pipeline of this step alone, always the same."""
        if self._pipeline is None:
            from stepwell.pipeline import Pipeline

            self._pipeline = Pipeline([self])
        return self._pipeline

    def __repr__(self) -> str:
        """Show the name."""
        return f"{type(self).__name__}({self._name!r})"


@overload
def step(fn: Callable[..., Any], /) -> Step: ...
@overload
def step(*, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Step]: ...
def step(fn: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a step of the function below; the options are those of `Step`.

    >>> @step(max_retries=3)
    ... async def double(n):
    ...     return n * 2
    >>> double
    Step('double')
    """
    if fn is not None:
        return Step.from_callable(fn, name, **options)
    return lambda function: Step.from_callable(function, name, **options)

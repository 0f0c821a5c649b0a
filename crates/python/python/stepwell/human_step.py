"""Questions to people as steps of pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from stepwell import _checks
from stepwell import _step_checks as check
from stepwell.context import UNSET
from stepwell.steps import Step


class HumanInTheLoopStep(Step):
    """A question to a person. The run waits for the answer, however long; the answer is the output."""

    def __init__(
        self,
        name: str,
        message_for_user: str | None = None,
        input_schema: Any = None,
        *,
        sink_to: str | None = None,
        options: Sequence[Any] | None = None,
        default: Any = UNSET,
        deadline: float | datetime | None = None,
        assignee: str | None = None,
    ) -> None:
        """Make a question.

        Args:
            name: Its name.
            message_for_user: What is asked; without it, what comes in is shown. `${input.topic}` in it is of what the
                run was begun with, `${draft}` what the step of that name came to last; `$${` stands for `${`.
            input_schema: What an answer must fit: a JSON Schema, a dataclass or a pydantic model.
            sink_to: Where in the context the answer is kept as well.
            options: What may be chosen.
            default: What stands for an answer after the deadline; without it the step fails with `HUMAN_TIMEOUT`.
            deadline: Seconds from when it is asked, or a moment with its time zone.
            assignee: Who is asked.
        """
        from stepwell._plain import plain, schema_of

        problems: list[str] = []
        schema = None
        if input_schema is not None:
            try:
                schema = schema_of(input_schema)
            except TypeError as error:
                problems.append(
                    f"input_schema must be a JSON Schema, a dataclass or a pydantic model: {error}"
                )
        check.message(message_for_user, problems)
        until, within = None, None
        if isinstance(deadline, datetime):
            if deadline.tzinfo is None:
                problems.append("deadline must be seconds, or a moment with a time zone: give it a tzinfo")
            until = deadline.astimezone(timezone.utc).timestamp()
        elif deadline is not None:
            within = check.tried(lambda: _checks.seconds("deadline", deadline, zero=True), problems)
        check.place("sink_to", sink_to, problems)
        check.refuse(name, problems)
        question = {
            "prompt": message_for_user or "",
            "schema": schema,
            "options": None if options is None else plain(list(options)),
            "default": [] if default is UNSET else [plain(default)],
            "deadline": within,
            "until": until,
            "assignee": assignee,
            "name": None,
        }
        self._name = check.checked(name)
        self._describe = lambda _: {
            "kind": "human",
            "name": name,
            "question": question,
            "shows_input": message_for_user is None,
            "has_references": "${" in (message_for_user or ""),
            "sink_to": sink_to,
        }

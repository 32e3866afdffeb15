"""What a pipeline's call takes: its signature decides which arguments it gets, and which are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .refusal import Refusal
from .wish import Wish


@dataclass(frozen=True, slots=True)
class Signature:
    """Of one pipeline class, by name; `defaults` of the parameters that have one."""

    pipeline: str
    names: frozenset[str]
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, pipeline: str, call: Callable[..., Any]) -> Signature:
        """Parameters that are caught by `**kwargs` do not count: nothing is known of them."""
        parameters = [
            parameter
            for parameter in inspect.signature(call).parameters.values()
            if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
        ]
        return cls(
            pipeline,
            frozenset(parameter.name for parameter in parameters),
            {
                parameter.name: parameter.default
                for parameter in parameters
                if parameter.default is not parameter.empty
            },
        )

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def steps(self) -> int | None:
        """How many the pipeline does when it is not told."""
        found = self.defaults.get("num_inference_steps")
        return found if isinstance(found, int) else None

    def lacking(self, names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if name not in self.names)

    def arguments(self, wish: Wish) -> dict[str, Any]:
        """Those for a call, without what only the painter can make.

        Raises:
            Refusal: the client asked for something that this pipeline does not have.
        """
        if lacking := self.lacking(wish.asked):
            raise Refusal(
                f"{self.pipeline} has no {lacking[0]}", param=lacking[0], code="unsupported_parameter"
            )
        found = {name: value for name, value in wish.arguments.items() if name in self.names}
        steps = wish.steps(self.steps)
        if steps is not None and "num_inference_steps" in self.names:
            found["num_inference_steps"] = steps
            self._check_strength(wish, steps)
        if wish.size is not None:
            found |= {"width": wish.size.width, "height": wish.size.height}
        found["prompt"] = wish.prompt
        return {name: value for name, value in found.items() if name in self.names}

    def _check_strength(self, wish: Wish, steps: int) -> None:
        """An edit does this share of the steps; pipelines that do none fail in the middle of their work."""
        strength = wish.arguments.get("strength", self.defaults.get("strength", 1.0))
        if wish.source is not None and "strength" in self.names and int(steps * strength) < 1:
            raise Refusal(
                f"strength {strength:g} of {steps} steps is less than one: ask for more of either",
                param="strength",
            )

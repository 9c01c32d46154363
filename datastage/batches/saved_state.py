"""The state of a loader that a user saved, checked before anything is believed of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from datastage.errors import SpecError


def checked_state(
    state: Any, mine: Mapping[str, Any], fixed: Sequence[str], asked: Collection[str]
) -> tuple[int, int, Any]:
    """Return the epoch and batch of a state that is as `mine` in all that is `fixed` or `asked`, and what is fed's."""
    if not isinstance(state, Mapping):
        raise SpecError(f"This is not the state of a loader, but of type {type(state).__name__}.")
    inner = state.get("inner")
    state = {key: value for key, value in state.items() if key != "inner"}
    # Those two were not always in it, and a state lives as long as the checkpoint that it lies in.
    if not set(mine) - set(asked) <= set(state) <= set(mine):
        raise SpecError(f"This is not the state of a loader: it holds {', '.join(map(str, state)) or 'nothing'}.")
    epoch, batch = (whole(key, state[key]) for key in ("epoch", "batch"))
    for key in (*fixed, *asked):
        if key in state and state[key] != mine[key]:
            raise SpecError(
                f"The saved state has {key}={state[key]} and this loader has {key}={mine[key]}, "
                "so it cannot go on exactly there.",
                f"Next: make the loader with {key}={state[key]}, or start anew with set_epoch({epoch}).",
            )
    return epoch, batch, inner


def whole(name: str, value: Any) -> int:
    """Return a number of a state, or raise `SpecError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SpecError(f"The saved state has {name}={value!r}: a whole number from 0 up is needed.")
    return value

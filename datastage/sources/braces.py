"""Many files in one text: ``dir/train-{000000..000127}.tar``, ``{train,val}-0.tar``, at any place."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from datastage.errors import SpecError
from datastage.progress import Reporter
from datastage.sources.found import Context, Fetch, Found
from datastage.spec import Spec, last_part
from datastage.transfer import Limits, Pool, fetch

MOST_FILES = 1_000_000
_AT_ONCE = 4
_RANGE = r"(\d{1,12})\.\.(\d{1,12})"
_BRACES = re.compile(r"\{(?:" + _RANGE + r"|[^{},\s]*(?:,[^{},\s]*)+)\}")


def parse_list(text: str) -> Spec:
    """Return the spec of all files that a text names; raises `SpecError` if they are none or too many."""
    count = 1
    for match in _BRACES.finditer(text):
        count *= len(_choices(match))
        if not 0 < count <= MOST_FILES:
            raise SpecError(
                f"{match[0]} names {'no file' if not count else f'more than {MOST_FILES:,} files'}.",
                "Next: the lower number first, as in train-{000000..000127}.tar.",
            )
    name = re.sub(r"[{}]", "", last_part(text)).replace("..", "-").replace(",", "-")
    return Spec(text, "list", text, name=name)


def expanded(text: str) -> list[str]:
    """Return the text of each file, in order; a number is as wide as its first one is written.

    Examples
    --------
    >>> expanded("s-{08..10}.tar"), expanded("{a,b}/{0..1}")
    (['s-08.tar', 's-09.tar', 's-10.tar'], ['a/0', 'a/1', 'b/0', 'b/1'])
    """
    made = [""]
    at = 0
    for match in _BRACES.finditer(text):
        between = text[at : match.start()]
        made = [start + between + choice for start in made for choice in _choices(match)]
        at = match.end()
    return [start + text[at:] for start in made]


def _choices(match: re.Match[str]) -> list[str]:
    first, last = match[1], match[2]
    if first is None:
        return match[0][1:-1].split(",")
    if int(last) - int(first) >= MOST_FILES:
        raise SpecError(f"{match[0]} names more than {MOST_FILES:,} files.", "Next: fewer of them at once.")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


def key(spec: Spec, cwd: Path) -> str:
    """Return what tells two lists apart: where the first file lies, and what stands in the braces."""
    from datastage import sources

    first = sources.parse(next(iter(expanded(_BRACES.sub(_first, spec.value)))))
    return "|".join([sources.key_of(first, cwd), *(match[0] for match in _BRACES.finditer(spec.value))])


def _first(match: re.Match[str]) -> str:
    return _choices(match)[0]


def open_list(spec: Spec, context: Context) -> Found:
    """Reach the files as one folder: they are fetched, several at a time, when the content is."""
    texts = expanded(spec.value)
    return Found(Fetch(partial(_fetch_all, texts, context)), str(spec), f"{len(texts):,} files")


def _fetch_all(texts: list[str], context: Context, folder: Path, reporter: Reporter) -> Path:
    from datastage import sources

    to = folder / "files"
    to.mkdir()
    specs = [sources.parse(text) for text in texts]
    taken = {spec.file_name for spec in specs}
    reporter.phase(f"copying {len(texts):,} files", None)

    def bring(number: int) -> tuple[()]:
        spec = specs[number]
        # Files of one name in several folders keep their order.
        target = to / (spec.file_name if len(taken) == len(specs) else f"{number:06d}-{spec.file_name}")
        found = sources.open_spec(spec, context.runtime, limits=context.limits)
        if isinstance(found.content, Path | Fetch):
            raise SpecError(f"{spec} is no single file.", "Next: name the files themselves, as in s-{000..003}.tar.")
        try:
            fetch(found.content, target, expect=found.digests, reporter=reporter, limits=context.limits)
        finally:
            found.content.close()
        return ()

    # Each transfer looks after its own stalls.
    Pool("the place", Limits(stall_s=float("inf"))).run(bring, range(len(specs)), _AT_ONCE)
    return to

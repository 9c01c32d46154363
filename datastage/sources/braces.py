"""Many files in one text: ``dir/train-{000000..000127}.tar``, ``{train,val}-0.tar``, at any place."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from datastage.errors import SpecError
from datastage.file_names import split_folders, split_words
from datastage.sources.found import Context, Found
from datastage.spec import BRACES, Spec, last_part

MOST_FILES = 1_000_000
_AT_ONCE = 4


def parse_list(text: str) -> Spec:
    """Return the spec of all files that a text names; raises `SpecError` if they are none or too many."""
    count = 1
    for match in BRACES.finditer(text):
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
    for match in BRACES.finditer(text):
        between = text[at : match.start()]
        made = [start + between + choice for start in made for choice in _choices(match)]
        at = match.end()
    return [start + text[at:] for start in made]


def first_of(text: str) -> str:
    """Return the text of the first file: all lie at one place."""
    return BRACES.sub(lambda match: _choices(match)[0], text)


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

    first = sources.parse(first_of(spec.value))
    return "|".join([sources.key_of(first, cwd), *(match[0] for match in BRACES.finditer(spec.value))])


def open_list(spec: Spec, context: Context) -> Found:
    """Reach the files as one folder: they are fetched, several at a time, when the content is."""
    from datastage import sources
    from datastage.sources.web_api import RemoteFile, open_files

    texts = expanded(spec.value)
    specs = [sources.parse(text) for text in texts]
    names = [one.file_name for one in specs]
    if len(set(names)) < len(names):  # files of one name in several folders keep their order, and shards their part
        words = [f"-{word}" if word else "" for word in split_folders(texts)]
        words = [word if name.endswith(".tar") and not split_words(name) else "" for name, word in zip(names, words)]
        names = [f"{number:06d}{word}-{name}" for number, (name, word) in enumerate(zip(names, words))]
    open_one = partial(sources.open_spec, runtime=context.runtime, limits=context.limits)
    files = [
        RemoteFile(name, "", reach=partial(open_one, one), most_connections=_AT_ONCE) for name, one in zip(names, specs)
    ]
    return open_files(files, str(spec), context, "")

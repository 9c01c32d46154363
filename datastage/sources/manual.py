"""The last link of every chain: a person. What to say when no place had the data, click by click for where we are.

Every text fits 14 lines of 88 columns, says what happened and that it is nobody's fault, gives the easiest way first,
and ends with the next step. It uses a person's words; the attempts, hashes and all, are carried by the error.
"""

from __future__ import annotations

import re
import shlex
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datastage import archives, network, settings
from datastage.errors import Attempt, UnavailableError, columns, wrapped
from datastage.progress import counted, human_bytes
from datastage.sources.found import kaggle_title, line_to_run

if TYPE_CHECKING:
    from datastage.runtime import Runtime
    from datastage.sources.near_misses import NearMiss

MAX_LINES = 14
# "birds.zip" among the places is a file, and "zenodo.org" a server.
_SERVER = re.compile(r"[\w-]+(\.[\w-]+)+(:\d+)?")
_IN_EDITOR = 'Next: run the cell in the editor, then "Save Version" > "Save & Run All" again.'
_INTERNET = "(With a verified phone you can instead turn on Settings > Internet.)"
_FILES = (*archives.suffixes(), ".csv", ".tsv", ".npz", ".npy", ".pt", ".parquet", ".json")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted, in plain facts."""

    title: str
    file_name: str
    size: int | None
    url: str | None
    search: str | None
    shows: str | None
    spec: str
    more: tuple[str, ...] = ()

    @property
    def size_text(self) -> str:
        return f" ({human_bytes(self.size)})" if self.size else ""

    @property
    def addresses(self) -> list[str]:
        return [self.url or self.file_name, *self.more]

    @property
    def them(self) -> str:
        return "them" if self.more else "it"


def manual_instructions(
    wanted: Wanted,
    runtime: Runtime,
    attempts: Sequence[Attempt],
    *,
    near: Sequence[NearMiss] = (),  # of which the first is named
    cut_short: Sequence[str] = (),  # places that there was no time to look at all of
    inputs: Sequence[str] = (),  # the titles of a Kaggle notebook's
    offline: bool | None = None,  # None: the hosts that were tried are asked
) -> UnavailableError:
    """Make the error that tells a person how to put the data where it will be found; it carries `attempts`."""
    if offline is None:
        offline = is_offline(attempts)
    why = _why(attempts, offline)
    if not wanted.search and not wanted.shows:
        text = _unnamed(wanted, runtime, attempts, offline)
    elif near:
        text = _wrong_file(wanted, runtime, near[0])
    elif runtime.platform == "kaggle":
        for brief in (bool(cut_short), True):
            text = _kaggle(wanted, runtime, why, inputs, offline, brief)
            if len(_lines(text)) <= MAX_LINES:
                break
    elif runtime.platform == "slurm":
        text = _cluster(wanted, why)
    else:
        text = _elsewhere(wanted, runtime, why)
    if cut_short and not near:
        text = _with_cut_short(text, wanted, cut_short[0], runtime)
    *body, last = _lines(text)
    return UnavailableError("\n".join(body), last, attempts=attempts)


def _with_cut_short(text: _Text, wanted: Wanted, place: str, runtime: Runtime) -> _Text:
    """Say that there was no time to look at all of a place, and how to name the folder in it that holds the data."""
    line = line_to_run(wanted.spec, runtime, "FOLDER").removeprefix("Next:").strip()
    said = _clip(f"There was no time to look at all of {place}: it holds very many files.", columns())
    both = [said, f"Is the data in it?  {line}"]
    option = 'fallbacks=["FOLDER"]' if runtime.in_kernel else "--fallback FOLDER"
    one = f"Not all of {_clip(place, 36)} was looked at: {option} names it."
    for closing in ([*both, *text.closing], both, [one]):
        longer = replace(text, closing=closing)
        if len(_lines(longer)) <= MAX_LINES:
            break
    return longer


@dataclass(frozen=True, slots=True)
class _Text:
    """The parts of a text: each a list of lines; `steps` are numbered when it is laid out."""

    opening: list[str]
    steps: list[list[str]]
    closing: list[str]
    next: str


def _lines(text: _Text) -> list[str]:
    """Lay a text out, with blank lines between its parts as far as the lines allow."""
    numbered = []
    for number, (first, *rest) in enumerate(text.steps, 1):
        numbered.append(f" {number}. {first}" if len(text.steps) > 1 else f"    {first}")
        indent = max(0, min(4, columns() - max(map(len, rest), default=0)))  # an address may be long
        numbered += [" " * indent + line for line in rest]
    parts = [part for part in (text.opening, numbered, [*text.closing, text.next]) if part]
    room = MAX_LINES - sum(map(len, parts))
    lines: list[str] = []
    for part in parts:
        if lines and room > 0:
            lines.append("")
            room -= 1
        lines += part
    return lines


# --- facts


def is_offline(attempts: Iterable[Attempt]) -> bool:
    """Tell whether the internet is off: no host that was tried can be reached. No other host is ever asked."""
    hosts = list(dict.fromkeys(host for attempt in attempts if (host := _host(attempt.place))))
    return all(network.is_offline(name, port=port) for name, port in hosts) if hosts else settings.is_set("OFFLINE")


def _host(place: str) -> tuple[str, int] | None:
    """Return the server that a place names: ``"data.example.org"`` of a dataset's, or that of an address."""
    if _SERVER.fullmatch(place) and not place.lower().endswith(_FILES):
        place = f"https://{place}"
    url = urllib.parse.urlsplit(place)
    if url.scheme not in ("http", "https") or not url.hostname:
        return None
    return url.hostname, url.port or (80 if url.scheme == "http" else 443)


def _why(attempts: Sequence[Attempt], offline: bool) -> str:
    """Say in one sentence why nothing could be downloaded."""
    if offline:
        return "The internet is off here, so it cannot be downloaded from inside."
    hosts = list(dict.fromkeys(host[0] for attempt in attempts if (host := _host(attempt.place))))
    if len(hosts) == 1:
        return f"It could not be downloaded from {hosts[0]} just now."
    if hosts:
        return f"It could not be downloaded: {len(hosts)} addresses were tried, and none gave it."
    return "It could not be downloaded just now."


# --- pieces of text


def _step(text: str, *more: str) -> list[str]:
    return [*wrapped(text, columns() - 4), *more]


def _clip(text: str, width: int) -> str:
    """Return `text` as one line of at most so many columns."""
    text = re.sub(r"\s*[\r\n]\s*", " ", text).strip()
    return text if len(text) <= width else text[: width - 3].rstrip(" ,;:") + "..."


def _download(wanted: Wanted, lead: str = "Download", tail: str = "to your own computer") -> list[str]:
    """Give the step that gets the file with a browser, on a computer that has internet."""
    many = f"these {1 + len(wanted.more)} files", "as they are"
    what, as_is = many if wanted.more else ("this file", "as it is")
    return _step(f"{lead} {what}{wanted.size_text} {tail}, {as_is}:", *wanted.addresses)


# --- Kaggle


def _kaggle(wanted: Wanted, runtime: Runtime, why: str, inputs: Sequence[str], offline: bool, brief: bool) -> _Text:
    last = "Next: run this cell again. No restart is needed."
    add = 'In the right-hand panel, under "Input", press "Add Input".'
    opening = f"{wanted.title} is not in this notebook yet. "
    if runtime.is_batch:
        opening += "The internet is off here, and nothing" if offline else f"{why} Nothing"
        opening += " can be added while it runs by itself; you can add it in the editor."
        add = f"Open the editor. {add}"
        last = _IN_EDITOR
    else:
        opening += f"{why.removesuffix('.')}; you" if offline else f"{why} You"
        opening += " can add it by hand in a few minutes."
    steps = [[add]]
    if wanted.search:
        shows = f"Press + beside a result whose files are called {wanted.shows}" if wanted.shows else ""
        shows = _clip(shows, columns() - 4) if brief else shows
        search = _step(f"Search for:  {wanted.search}", *_step(shows))
        steps = [[add, *search]] if brief else [[add], search]
    upload = 'then "Input" > "Upload" > New Dataset, any title, "Create"; wait until it is done.'
    steps.append([*_download(wanted, "Nothing fits? Download" if wanted.search else "Download"), upload])
    closing = [_looked(wanted.title, inputs), *([_INTERNET] if offline else [])]
    return _Text(wrapped(opening, 82), steps, closing, last)


def _looked(title: str, inputs: Sequence[str]) -> str:
    if not inputs:
        return "Looked in: this notebook has no inputs yet. Any name or folder will do."
    many = len(inputs) > 1
    count = f"your {counted(len(inputs), 'input')}"
    tail = f"{title} is not in {'them' if many else 'it'}."
    free = " Any name or folder will do."
    names = ", ".join(inputs)
    if len(f"Looked in: {count} ({names}). {tail}{free}") > columns():
        free = ""
    room = columns() - len(f"Looked in: {count} (). {tail}")
    return f"Looked in: {count} ({_clip(names, room)}). {tail}{free}"


# --- something else was found


def _wrong_file(wanted: Wanted, runtime: Runtime, near: NearMiss) -> _Text:
    found = _clip(near.place[:1].upper() + near.place[1:], 40)
    opening = wrapped(f"{found} was found, but it does not hold the file that is needed.", columns())
    opening += [
        "",
        f"   needed   {_clip(near.needed, columns() - 12)}",
        f"   found    {_clip(near.found, columns() - 12)}",
        "",
    ]
    side = "The download page offers both side by side. " if "version" in near.found else ""
    on_kaggle = runtime.platform == "kaggle"
    opening.append(f"{side}{'Your upload does' if on_kaggle else 'What is there does'} no harm and can stay.")
    right = "ones" if wanted.more else "one"
    steps = [[f"Download the right {right}{wanted.size_text}:", *wanted.addresses]]
    if on_kaggle:
        steps.append(['In the right-hand panel: "Input" > "Upload" > New Dataset, any title, "Create".'])
        last = "Next: when Kaggle has finished with the upload, run this cell again."
        return _Text(opening, steps, [], _IN_EDITOR if runtime.is_batch else last)
    bring, last = _bring(wanted, runtime)
    return _Text(opening, [*steps, bring], [], last)


# --- Colab, Jupyter, a terminal, a cluster


def _elsewhere(wanted: Wanted, runtime: Runtime, why: str) -> _Text:
    opening = f"{wanted.title} is not on this machine yet. {why} You did nothing wrong, and can bring it by hand."
    bring, last = _bring(wanted, runtime)
    is_far = runtime.platform == "colab" or runtime.in_kernel
    tail = "to your own computer" if is_far else "with a browser, here or elsewhere"
    return _Text(wrapped(opening, 82), [_download(wanted, tail=tail), bring], [], last)


def _bring(wanted: Wanted, runtime: Runtime) -> tuple[list[str], str]:
    """Return the step that puts the downloaded file where it is found, and the line to run then."""
    name = re.sub(r"\W+", "-", wanted.spec) if wanted.more else wanted.file_name  # one folder for several
    line = line_to_run(wanted.spec, runtime, f"./{name}")
    if runtime.platform == "colab" and runtime.in_kernel:
        line = line_to_run(wanted.spec, runtime, f"drive:{name}")
        into = 'into My Drive, at drive.google.com: "New" >'
        if wanted.more:
            step = f'Put them in a folder called {name}, and that {into} "Folder upload". It stays there.'
            return _step(step), line
        return [
            f'Put it {into} "File upload". It stays there.',
            '(For this session: folder icon in the left bar > upload, and "./" for "drive:" below.)',
        ], line
    if runtime.platform == "colab":
        step = f"Press the folder icon in the left bar, then upload{f', into a folder {name}' if wanted.more else ''}."
        return [step], line
    if runtime.in_kernel:
        where = f"into a new folder {name} beside this notebook" if wanted.more else "to the folder of this notebook"
        return _step(f"In the list of files on the left, press the upload arrow; bring {wanted.them} {where}."), line
    step = f"Put {wanted.them} into a folder of your choice, and say which, for example:"
    again = "submit the job again" if runtime.platform == "slurm" else "run the same line again"
    return [step, "export DATASTAGE_PATH=~/data"], f"Next: {again}."


def _cluster(wanted: Wanted, why: str) -> _Text:
    opening = f"{wanted.title} is not on this machine yet. {why} On many clusters only the login node has internet."
    names = "FILES" if wanted.more else shlex.quote(wanted.file_name)
    steps = [
        ["On the login node, once:", f"datastage stage {shlex.quote(wanted.spec)} --root ~/data"],
        [*_download(wanted, "No internet there? Download"), f"then:  scp {names} CLUSTER:data/"],
        ["In the script of the job, before the line that failed:", "export DATASTAGE_PATH=~/data"],
    ]
    return _Text(wrapped(opening, 82), steps, [], "Next: submit the job again.")


# --- a file or an address that no catalog knows


def _unnamed(wanted: Wanted, runtime: Runtime, attempts: Sequence[Attempt], offline: bool) -> _Text:
    tried = [attempt for attempt in attempts if attempt.failure]
    opening = [_clip(f"{wanted.title} could not be had.", columns())]
    if offline:
        opening = wrapped(f"{_clip(wanted.title, 60)} could not be had: the internet is off here.", columns())
    if tried:
        count = "1 place was" if len(tried) == 1 else f"{len(tried)} places were"
        opening += [f"{count} tried:", ""]
    for attempt in tried[:3]:
        opening += [f"   {_clip(attempt.place, columns() - 3)}", f"      {_clip(attempt.failure or '', columns() - 6)}"]
    if len(tried) > 3:
        opening.append(f"   and {len(tried) - 3} more")
    if offline and runtime.platform == "kaggle" and wanted.url:
        title = kaggle_title(wanted.file_name)
        steps = [
            ["Download it to your own computer, as it is, from the address above."],
            [
                'In the right-hand panel: "Input" > "Upload" > New Dataset, with this title:',
                f'{title}     then "Create"; wait until it is done.',
            ],
        ]
        return _Text(opening, steps, [_INTERNET], f'Next:  path = datastage.stage("kaggle:{title}")')
    said = [_clip(step, columns() - 4) for step in dict.fromkeys(step for one in tried for step in one.remedy)]
    steps = [[step] for step in said if not step.startswith("Next: ")]
    last = "Next: look at the spelling, then run the same line again."
    last = next((step for step in said if step.startswith("Next: ")), last)
    if offline:
        last = "Next: run the same line again when this machine has internet."
    return _Text(opening, steps[:2], [], last)

"""Bars and lines while work is done: for a notebook, a terminal, a log, or not at all.

A bar vanishes when its phase ends; notes stay as lines and stand alone in a log. In a notebook lines go to standard
output, where a cell's output is read; elsewhere to standard error, since a command's standard output is its result.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, TextIO

from datastage.errors import LABEL_WIDTH
from datastage.progress import SILENT, Reporter, Silent, duration, human_bytes
from datastage.runtime import Runtime
from datastage.show.lines import fitted, printable, writable

DRAW_EVERY_S = 0.2
LOG_EVERY_S = 30.0
# A rate measured over less than this is noise, and time left computed from it jumps.
_RATE_AFTER_S = 1.0


def pick(
    progress: bool | Literal["auto"], runtime: Runtime, *, in_words: Callable[[str], str] | None = None
) -> Reporter:
    """Choose the reporter that suits where we are; one that shows something must be closed when the work has ended.

    ``"auto"`` is silent in all but the first of several processes that work together; True speaks in each of them.
    `in_words` puts lines into the words of the command: then standard output is left to its result, in a notebook too.
    """
    if progress is False or (progress == "auto" and runtime.rank != 0):
        return SILENT
    in_notebook = runtime.in_kernel and in_words is None
    stream = sys.stdout if in_notebook else sys.stderr
    if in_notebook and not runtime.is_batch and (area := NotebookArea.make()) is not None:
        return Shown(stream, area)
    is_terminal = not in_notebook and stream is not None and stream.isatty()
    return Shown(stream, TerminalLine(stream) if is_terminal and stream else None, in_words=in_words or str)


def phase_text(done_bytes: int, total_bytes: int | None, seconds: float, resumed_bytes: int = 0) -> str:
    """Return what a bar says. Bytes that an earlier run left are done, and say nothing of the speed.

    >>> phase_text(744_000_000, 1_200_000_000, 24.0)
    '62 %, 744 MB of 1.2 GB, 31 MB/s, 15 s left'
    >>> phase_text(744_000_000, None, 24.0)
    '744 MB, 31 MB/s'
    >>> phase_text(100_000_000, 200_000_000, 2.0, 48_000_000)
    '50 %, 100 MB of 200 MB, 26 MB/s, 4 s left'
    """
    if not done_bytes and not total_bytes:
        return ""  # of what has no bytes, as waiting for a person, the name says all
    # More than was announced: the size was of the archive, or a guess. Then no share is better than a false one.
    total = total_bytes if total_bytes and done_bytes <= total_bytes else None
    parts = [f"{human_bytes(done_bytes)} of {human_bytes(total)}" if total else human_bytes(done_bytes)]
    if total:
        parts.insert(0, f"{100 * done_bytes // total} %")
    fetched = done_bytes - resumed_bytes
    if seconds >= _RATE_AFTER_S and fetched > 0:
        parts.append(f"{human_bytes(fetched / seconds)}/s")
        if total and done_bytes < total:
            parts.append(f"{duration((total - done_bytes) * seconds / fetched)} left")
    return ", ".join(parts)


class Shown:
    """A reporter that shows work: a bar where there is a surface for one, else a line every half minute.

    Every method may be called from any thread and does no more than write a line. Without a stream, as under
    ``pythonw``, nothing is shown.
    """

    def __init__(
        self,
        stream: TextIO | None,
        surface: TerminalLine | NotebookArea | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        log_every_s: float = LOG_EVERY_S,
        in_words: Callable[[str], str] = str,
    ) -> None:
        self._stream, self._in_words = stream, in_words
        self._surface = surface
        self._clock = clock
        self._log_every_s = log_every_s
        self._lock = threading.Lock()
        self._name = self._kept_last = ""
        self._total: int | None = None
        self._done = self._resumed = 0
        self._is_kept = False
        self._began = 0.0
        self._drawn = 0.0
        self._ended = threading.Event()
        self._pulse: threading.Thread | None = None

    def phase(self, name: str, total_bytes: int | None) -> None:
        """Begin a phase: a new bar takes the place of the last one."""
        with self._lock:
            self._name, self._total, self._done, self._resumed, self._is_kept = name, total_bytes, 0, 0, False
            self._began = self._clock()
            self._drawn = self._began
            if self._surface is None:
                self._start_pulse()
            else:
                self._draw()

    def advance(self, n_bytes: int) -> None:
        """Count bytes; the bar is drawn a few times a second, however often this is called."""
        with self._lock:
            self._done += n_bytes
            if self._surface is not None and self._name:
                now = self._clock()
                if now - self._drawn >= DRAW_EVERY_S:
                    self._drawn = now
                    self._draw()

    def resume(self, n_bytes: int) -> None:
        """Count bytes that an earlier run left, as this one will leave its own."""
        with self._lock:
            self._is_kept = True
            self._done += n_bytes
            self._resumed += n_bytes

    def note(self, text: str, label: str = "") -> None:
        """Write lines that stay, at once. The phase has said what it had to say: its bar is taken away."""
        with self._lock:
            self._clear()
            labelled = f"{label:<{LABEL_WIDTH}}{text}" if label else text  # in the column that all labels share
            lines = map(self._in_words, labelled.split("\n"))
            self._write("\n".join(map(printable, lines)))

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()  # another process that is sent a loader says nothing: this one does

    @property
    def kept(self) -> str:
        """What has come of a file that is being copied, in words; it is there for the next run."""
        with self._lock:
            return self._kept()

    def close(self) -> None:
        """Take the bar away. Closing twice is fine, and a closed reporter can be used again."""
        self._ended.set()
        with self._lock:
            self._clear()
            self._kept_last = self._kept()
            self._name = ""

    # --- drawing; the lock is held

    def _kept(self) -> str:
        if not self._name:
            return self._kept_last  # a stop is put in words after the bar has gone
        if not self._is_kept or not self._name.startswith("copying") or not self._total:
            return ""
        return f"{human_bytes(self._done)} of {human_bytes(self._total)}"

    def _draw(self) -> None:
        assert self._surface is not None
        text = phase_text(self._done, self._total, self._clock() - self._began, self._resumed)
        # Showing progress must never end the work: a pipe may be closed, a front end gone.
        with contextlib.suppress(Exception):
            self._surface.draw(printable(self._name), text, self._done, self._total)

    def _clear(self) -> None:
        if self._surface is not None:
            with contextlib.suppress(Exception):
                self._surface.clear()

    def _write(self, text: str) -> None:
        stream = self._stream
        if stream is None:
            return
        text = fitted(text, stream)
        with contextlib.suppress(OSError, ValueError):
            # One write for a block of lines: a saved notebook makes an output of each.
            stream.write(writable(f"{text}\n", stream))
            stream.flush()

    # --- a log

    def _start_pulse(self) -> None:
        """Say every half minute that the work goes on, also when no bytes move: nobody should take it for dead."""
        self._ended.clear()
        if self._pulse is None or not self._pulse.is_alive():
            self._pulse = threading.Thread(target=self._beat, name="datastage-log", daemon=True)
            self._pulse.start()

    def _beat(self) -> None:
        while not self._ended.wait(self._log_every_s):
            with self._lock:
                if self._name:
                    text = phase_text(self._done, self._total, self._clock() - self._began, self._resumed)
                    self._write(_named(printable(self._name), text))


class TerminalLine:
    """One line at the bottom of a terminal, written over and over by a carriage return: numbers, then a bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def draw(self, name: str, text: str, done_bytes: int, total_bytes: int | None) -> None:
        columns = max(20, shutil.get_terminal_size().columns) - 3  # the ^C of a stop fits behind it
        line = _named(name, text)
        if _cells(line) > columns:
            line = text or name  # the numbers say more than the name
        room = min(columns - _cells(line) - 2, 40)
        if total_bytes and 0 <= done_bytes <= total_bytes and room >= 10:
            full = room * done_bytes // total_bytes
            line += f"  {'█' * full}{'░' * (room - full)}"
        line = writable(line[:columns], self._stream)
        while _cells(line) > columns:
            line = line[:-1]
        width = _cells(line)
        self._stream.write(f"\r{line}{' ' * (self._width - width)}")
        self._stream.flush()
        self._width = width

    def clear(self) -> None:
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
            self._width = 0


def _cells(text: str) -> int:
    """Return how many columns a text takes on a terminal: Chinese, Japanese and Korean letters take two each."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(c) in "FW" else 1 for c in text)


def _named(name: str, text: str) -> str:
    return f"{name}: {text}" if text else name


class NotebookArea:
    """A bar in a notebook cell's output, which leaves nothing behind, in a saved notebook either.

    tqdm's bar where the front end has widgets, else one made of HTML. Both sit in one display area of ours, since a
    widget that is closed leaves its text form in the saved notebook (ipywidgets), and an area can be emptied.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None
        self._bar: Any = None

    @classmethod
    def make(cls) -> NotebookArea | None:
        """Return an area if this process is a notebook's kernel; IPython is asked only if it is loaded already."""
        if "IPython" not in sys.modules:
            return None
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            return None
        return cls(display) if getattr(get_ipython(), "kernel", None) is not None else None

    def draw(self, name: str, text: str, done_bytes: int, total_bytes: int | None) -> None:
        if self._bar is None and self._handle is None:
            self._bar = _tqdm_bar(total_bytes)
            plain = _html_bar(name, text, done_bytes, total_bytes)
            first = plain if self._bar is None else _view(self._bar.container)
            self._handle = self._display(first, raw=True, display_id=True)
        if self._bar is None:
            self._handle.update(_html_bar(name, text, done_bytes, total_bytes), raw=True)
            return
        bar = self._bar
        if total_bytes != bar.total:
            bar.reset(total_bytes)
        bar.n = done_bytes
        bar.set_description_str(_named(name, text))

    def clear(self) -> None:
        bar, handle = self._bar, self._handle
        self._bar = self._handle = None
        if bar is not None:
            bar.disp = lambda *_, **__: None  # tqdm would paint what ends early red, and leave it
            bar.close()
            # Emptied, not closed: a page that was reloaded meanwhile shows it still, and of a closed one an error.
            bar.container.layout.display, parts = "none", bar.container.children
            bar.container.children = ()
            for part in parts:
                part.close()
        if handle is not None:
            handle.update(_html(""), raw=True)


def _html(text: str) -> dict[str, Any]:
    """Return what a front end shows as HTML, and not at all where it shows text."""
    return {"text/plain": "", "text/html": text}


def _view(widget: Any) -> dict[str, Any]:
    """Show a widget by its number: ipywidgets 7, which Colab has, would else display it where we cannot empty it."""
    shown = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"text/plain": "", "application/vnd.jupyter.widget-view+json": shown}


# An HTML bar that is brought up to date no more goes by itself: no front end of ours reaches a page that was reloaded.
_GOES = "<style>@keyframes datastage-goes{to{display:none;visibility:hidden;height:0}}</style>"


def _html_bar(name: str, text: str, done_bytes: int, total_bytes: int | None) -> dict[str, Any]:
    import html

    share = f' value="{done_bytes}" max="{total_bytes}"' if total_bytes and done_bytes <= total_bytes else ""
    said = html.escape(_named(name, text))
    return _html(
        f'{_GOES}<div style="animation:datastage-goes 0s 30s forwards"><progress{share}></progress> {said}</div>'
    )


def _tqdm_bar(total_bytes: int | None) -> Any:
    """Return tqdm's notebook bar, not yet shown; None where tqdm or the widgets are missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns of missing widgets; then there is a plain bar
            from tqdm.auto import tqdm

            bar = tqdm(total=total_bytes, bar_format="{bar} {desc}", leave=False, display=False)
    except Exception:  # tqdm absent, its terminal form (which knows no display=), or widgets that do not fit
        return None
    return bar if hasattr(bar, "container") else None

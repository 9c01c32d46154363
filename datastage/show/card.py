"""What a notebook shows of a value: a card, as HTML or as lines of text.

The HTML is static: every text is escaped, no script, no address but of pictures that it holds, the page's own colours.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datastage.batches.loader import Loader, Loaders
from datastage.batches.stats import facts
from datastage.errors import LABEL_WIDTH, columns, labelled_lines
from datastage.progress import counted, duration, human_bytes
from datastage.show.lines import printable, receipt_rows, shortened, writable
from datastage.show.look import SIDE, Look, look
from datastage.staged import Staged

# Only the page's own colours, at less strength: readable on light and dark pages alike.
_BOX = (
    "display:inline-block;max-width:100%;box-sizing:border-box;padding:0.7em 1em;margin:0.2em 0;"
    "border:1px solid rgba(128,128,128,0.4);border-left:4px solid #4a90d9;border-radius:6px;"
    "color:inherit;background:transparent;line-height:1.45"
)
# A page without a doctype gives tables a colour and a font of their own; hence "inherit" again.
_TABLE = "border:none;border-collapse:collapse;margin:0;font:inherit;color:inherit"
_ROW = '<tr style="background:transparent">'
_CELL = "color:inherit;text-align:left;vertical-align:top;"
_LABEL = f"{_CELL}padding:0.1em 1.2em 0.1em 0;opacity:0.65;font-weight:normal;white-space:nowrap"
_TEXT = f"{_CELL}padding:0.1em 0;overflow-wrap:anywhere"
_TIGHT = f"{_CELL}padding:0 0.8em 0 0;white-space:nowrap"
# Of train, val, test and predict: told apart on light and dark, and by whoever sees no red.
_BLUE = "#4a90d9"
_COLOURS = {"train": _BLUE, "val": "#8e7cc3", "test": "#e69f3c", "predict": "#8a9099", "waiting": "#e69f3c"}
_MARKS = {"train": "█", "val": "▓", "test": "▒", "predict": "░", "waiting": "█"}
_BAR_EM = 14
_BAR_COLUMNS = 30
_MOST_BARS = 12
_MOST_EPOCHS = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name, how long it is by kind (of the longest, 1 is the whole width), and the text behind it."""

    name: str
    parts: Mapping[str, float]
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A title over rows of a label and a text, or of a label and bars; and small pictures."""

    title: str
    rows: Sequence[tuple[str, str | Sequence[Bar]]]
    pictures: Sequence[tuple[str, str]] = ()

    def html(self) -> str:
        names = [len(bar.name) for _, what in self.rows if not isinstance(what, str) for bar in what]
        room = 0.55 * min(24, max(names, default=0))  # in em: bars of all rows begin below each other
        body = "".join(
            f'{_ROW}<th scope="row" style="{_LABEL}">{_escaped(label)}</th>'
            f'<td style="{_TEXT}">{_escaped(what) if isinstance(what, str) else _bars(what, room)}</td></tr>'
            for label, what in self.rows
        )
        return (
            f'<div style="{_BOX}"><div style="font-weight:600;margin-bottom:0.3em;overflow-wrap:anywhere">'
            f'{_escaped(self.title)}</div><table style="{_TABLE}">{body}</table>{_strip(self.pictures)}</div>'
        )

    def text(self) -> str:
        """Return the card in lines that fit the screen."""
        lines = [printable(self.title)]
        bars = [bar for _, what in self.rows if not isinstance(what, str) for bar in what]
        width = max((len(printable(bar.name)) for bar in bars), default=0)
        longest = columns() - LABEL_WIDTH - width - 4 - max((len(bar.text) for bar in bars), default=0)
        longest = max(8, min(_BAR_COLUMNS, longest))
        for label, what in self.rows:
            if isinstance(what, str):
                lines += labelled_lines(label, printable(what))
            else:
                for number, bar in enumerate(what):
                    drawn = "".join(_MARKS.get(kind, "█") * round(longest * share) for kind, share in bar.parts.items())
                    line = f"{printable(bar.name):<{width}}  {drawn:<{longest}}  {bar.text}"
                    lines.append(f"{'' if number else label:<{LABEL_WIDTH}}{line}".rstrip())
        return writable("\n".join(lines), sys.stdout)


def card_of(value: Any) -> Card:
    """Return the card of something staged, of loaders or of one loader."""
    if isinstance(value, Loaders):
        more = [] if value.predict is None else [value.predict]
        return loader_card([*value, *more])
    return loader_card([value]) if isinstance(value, Loader) else staged_card(value)


def staged_card(staged: Staged) -> Card:
    """Return the card of something staged: where from, what was tried, what it is, how long it took."""
    receipt, seen = staged.receipt, look(staged)
    rows: list[tuple[str, str | Sequence[Bar]]] = []
    if found := receipt.get("seen"):
        rows.append(("Found", str(found)))
    tried = [attempt for attempt in receipt.get("attempts") or () if attempt.get("failure")]
    rows += [("Tried", f"{attempt.get('place')}: {attempt['failure']}") for attempt in tried[:3]]
    rows += [("", f"and {len(tried) - 3} more")] if len(tried) > 3 else []
    rows += receipt_rows(receipt, path=str(staged))
    if n_files := receipt.get("n_files"):
        rows.append(("Holds", f"{counted(n_files, 'file')}, {human_bytes(receipt.get('n_bytes') or 0)}"))
    rows += _of_the_look(seen)
    steps = {word: s for word, s in (receipt.get("steps") or {}).items() if isinstance(s, int | float) and s >= 0.5}
    if len(steps) > 1:
        rows.append(("Time", ", ".join(f"{word} {duration(s)}" for word, s in steps.items())))
    rows += _terms(receipt)
    return Card(str(receipt.get("spec") or receipt.get("name") or staged), rows, seen.pictures)


def _of_the_look(seen: Look) -> list[tuple[str, str | Sequence[Bar]]]:
    rows: list[tuple[str, str | Sequence[Bar]]] = []
    bars = count_bars(seen.counts)
    if bars:
        names = {name for counts in seen.counts.values() for name in counts} - set(seen.counts)
        sums = {split: sum(part.values()) for split, part in seen.counts.items()}
        parts = [Bar(split, {split: n / max(sums.values())}, f"{n:,}") for split, n in sums.items()]
        rows.append(("Parts", parts))  # the bar of each split tells its colour
        if names:
            rows.append((f"{len(names)} classes", bars))
    if text := seen.size_text():
        rows.append(("Size", text))
    if seen.damaged:
        n = len(seen.damaged)
        what = f"{counted(n, 'picture')} of {n + len(seen.sizes):,} looked at cannot be read"
        rows.append(("Damaged", f"{what}: {shortened(seen.damaged, 60)}"))
    return rows


def _terms(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return licence and citation, as the catalog has them."""
    from datastage import datasets

    entry = datasets.of_receipt(receipt)
    licence = receipt.get("licence") or (entry.licence if entry else "")
    terms = [("Licence", str(licence or "")), ("Cite", entry.citation if entry else "")]
    return [(label, text) for label, text in terms if text]


def count_bars(counts: Mapping[str, Mapping[str, int]]) -> list[Bar]:
    """Return a bar for each class, by split; of many classes the largest and the smallest."""
    names = list(dict.fromkeys(name for part in counts.values() for name in part))
    total = {name: sum(part.get(name, 0) for part in counts.values()) for name in names}
    longest = max(total.values(), default=0)
    if not longest:
        return []
    gap = len(names)
    if len(names) > _MOST_BARS:
        names, gap = sorted(names, key=lambda name: -total[name]), _MOST_BARS // 2 + 2
        names = [*names[:gap], *names[gap - _MOST_BARS :]]
    bars = []
    for number, name in enumerate(names):
        if number == gap:
            bars.append(Bar(f"... {len(total) - _MOST_BARS:,} more", {}, ""))
        parts = {split: part[name] / longest for split, part in counts.items() if part.get(name)}
        numbers = [f"{part[name]:,}" for part in counts.values() if part.get(name)]
        kinds = {split if split in _COLOURS else "train": n for split, n in parts.items()}
        bars.append(Bar(name, kinds, " + ".join(numbers)))
    return bars


def loader_card(loaders: Iterable[Loader]) -> Card:
    """Return the card of loaders: what each does and why, and what it measured, epoch by epoch."""
    rows: list[tuple[str, str | Sequence[Bar]]] = []
    shared: list[tuple[str, str]] = []
    for loader in loaders:
        said = facts(loader)
        rows += [fact for fact in said if fact not in shared]
        shared += [fact for fact in said if fact[0] in ("Device", "Data")]  # one of all of them: said once
        bars = []
        for epoch in [epoch for epoch in loader.epochs if epoch.batches][-_MOST_EPOCHS:]:
            text = f"{epoch.waiting:.1%} of {epoch.seconds:.1f} s; {epoch.images_per_s:,.0f} images/s"
            bars.append(Bar(f"epoch {epoch.epoch}", {"waiting": epoch.waiting, "predict": 1 - epoch.waiting}, text))
        rows += [("Waiting", bars)] if bars else []
    return Card("Loaders" if sum(label == "Batches" for label, _ in rows) > 1 else "Loader", rows)


def _bars(bars: Sequence[Bar], room: float) -> str:
    rows = []
    for bar in bars:
        parts = "".join(
            f'<span style="display:inline-block;height:0.65em;width:{_BAR_EM * share:.2f}em;'
            f'background:{_COLOURS.get(kind, "#4a90d9")}{";opacity:0.35" if kind == "predict" else ""}"></span>'
            for kind, share in bar.parts.items()
        )
        rows.append(
            f'{_ROW}<td style="{_TIGHT};min-width:{room:.1f}em">{_escaped(bar.name)}</td>'
            f'<td style="{_TIGHT};min-width:{_BAR_EM}em">{parts}</td>'
            f'<td style="{_TIGHT}">{_escaped(bar.text)}</td></tr>'
        )
    return f'<table style="{_TABLE}">{"".join(rows)}</table>'


def _strip(pictures: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<div style="display:inline-block;width:{SIDE}px;margin:0.5em 0.5em 0 0;vertical-align:top;font-size:0.85em;'
        f'text-align:center;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"><img src="{uri}" '
        f'alt="{_escaped(name)}" style="width:{SIDE}px;height:{SIDE}px;object-fit:contain;'
        f'object-position:bottom;margin:0;border-radius:4px{";image-rendering:pixelated" * ("image/png" in uri)}">'
        f"<br>{_escaped(name)}</div>"
        for uri, name in pictures
    )
    return f"<div>{cells}</div>" if cells else ""


def _escaped(text: str) -> str:
    # A name that is not text (a lone surrogate) cannot be sent to the front end.
    return html.escape(printable(text).encode("utf-8", "backslashreplace").decode())

"""What a notebook shows of a value: a card for what was staged, a table for loaders.

Here: HTML made from a receipt and from loaders, every text escaped, no script, colours of the page it stands in.
Not here: the words (`lines`).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.show.lines import inside_of, printable, receipt_lines, split_label

if TYPE_CHECKING:
    from datastage.batches import Loader

# Only the page's own colours, at less strength: readable on light and dark pages alike.
_BOX = (
    "display:inline-block;max-width:100%;box-sizing:border-box;padding:0.7em 1em;margin:0.2em 0;"
    "border:1px solid rgba(128,128,128,0.4);border-left:4px solid #4a90d9;border-radius:6px;"
    "color:inherit;background:transparent;line-height:1.45"
)
# A page without a doctype gives tables a colour and a font of their own; hence "inherit" again.
_TABLE = "border:none;border-collapse:collapse;margin:0;font:inherit;color:inherit"
_CELL = "color:inherit;text-align:left;vertical-align:top;"
_LABEL = f"{_CELL}padding:0.1em 1.2em 0.1em 0;opacity:0.65;font-weight:normal;white-space:nowrap"
_TEXT = f"{_CELL}padding:0.1em 0;overflow-wrap:anywhere"


def staged_card(receipt: Mapping[str, Any], path: Path) -> str:
    """Return the card of something staged.

    Examples
    --------
    >>> "&lt;b&gt;" in staged_card({"spec": "<b>.zip", "n_bytes": 5, "single": "b"}, Path("/staged/b"))
    True
    """
    rows = []
    if seen := receipt.get("seen"):
        rows.append(("Found", str(seen)))
    for line in receipt_lines(receipt, inside_of(receipt), path=str(path)):
        label, text = split_label(line)
        if label or not rows:
            rows.append((label, text))
        else:
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {text}")
    if licence := receipt.get("licence"):
        rows.append(("Licence", str(licence)))
    return card(str(receipt.get("spec") or receipt.get("name") or path), rows)


def loader_card(loaders: Iterable[Loader]) -> str:
    """Return a table of loaders: what each does and why, and what it measured."""
    rows = []
    for loader in loaders:
        name, _, rest = loader.explain().partition(": ")
        measured = str(loader.stats) if loader.stats.batches else "nothing measured yet"
        rows += [(name, rest), ("", measured)]
    return card("Loaders" if len(rows) > 2 else "Loader", rows)


def card(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a card: a title over rows of a label and a text."""
    body = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{_LABEL}">{_escaped(label)}</th>'
        f'<td style="{_TEXT}">{_escaped(text)}</td></tr>'
        for label, text in rows
    )
    return (
        f'<div style="{_BOX}"><div style="font-weight:600;margin-bottom:0.3em;overflow-wrap:anywhere">'
        f'{_escaped(title)}</div><table style="{_TABLE}">'
        f"{body}</table></div>"
    )


def _escaped(text: str) -> str:
    # A name that is not text (a lone surrogate) cannot be sent to the front end.
    return html.escape(printable(text).encode("utf-8", "backslashreplace").decode())

"""What is shown as a card: HTML in a notebook, lines where IPython shows text."""

from __future__ import annotations

from typing import Any


class Carded:
    """A value that is shown as a card, and in a list or the like by its ``repr``."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from datastage.show.card import card_of

        return card_of(self).html()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from datastage.show.card import card_of

        printer.text(repr(self) if cycle or len(printer.stack) > 1 else card_of(self).text())

"""What a person sees: bars, lines, cards and setup cells. Only this package and `cli` print.

Here: `pick`, which chooses how to show work where we are, and the lines for what was staged.
Not here: what is said when nothing worked (`sources.manual`), and every decision.
"""

from datastage.show.lines import staged_lines
from datastage.show.reporters import pick

__all__ = ["pick", "staged_lines"]

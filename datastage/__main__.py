"""``python -m datastage`` and ``python datastage.pyz``: the same as the command."""

from __future__ import annotations

import sys

from datastage.cli import main

sys.exit(main())

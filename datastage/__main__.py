"""The command, as ``datastage`` and ``python -m datastage``."""

from __future__ import annotations

import os
import sys

from datastage._version import __version__


def main() -> int:
    """Run the command; its version is said without importing the rest, which takes several times as long."""
    if sys.argv[1:] == ["--version"]:
        try:
            os.write(sys.stdout.fileno(), f"datastage {__version__}\n".encode())
            return 0
        except (OSError, AttributeError, ValueError):
            pass  # the command itself says what is wrong with the output
    from datastage import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

"""``python -m eqlin_core``: the command ``eqlin``."""

import sys

from eqlin_core.command.entry import main

if __name__ == "__main__":
    sys.exit(main())

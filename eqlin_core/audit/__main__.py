"""``python -m eqlin_core.audit``: the command behind the proof in ``eqlin_core.audit.report``."""

import sys

from eqlin_core.audit.report import main

if __name__ == "__main__":
    sys.exit(main())

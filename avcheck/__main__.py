"""`python -m avcheck` is the command `avcheck`."""

import sys

from avcheck.cli import main

sys.exit(main())

"""`python -m avcheck` is the command `avcheck`."""

import sys

from avcheck.cli.app import main

sys.exit(main())

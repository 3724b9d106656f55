"""`python -m tersor.cli` is `tersor`."""

import sys

from tersor.cli import main

sys.exit(main())

"""`python -m fastnn` is the console script `fastnn`."""

import sys

from .cli import main

sys.exit(main())

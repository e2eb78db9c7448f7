"""`python -m graphrewrite`."""

from __future__ import annotations

import sys

from graphrewrite.cli.main import main

sys.exit(main())

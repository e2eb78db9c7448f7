"""The Core ML target."""

from __future__ import annotations

import logging

# coremltools warns at import of every part that only exists on macOS, and of frameworks that it was not tested with
logging.getLogger("coremltools").setLevel(logging.ERROR)

"""Makes `commands` (beside this) and `tools` (of the repository) importable, however pytest is started."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[3])]

"""What the service writes to its journal."""

from __future__ import annotations

import logging
import re

SECRET = re.compile(r"(/join/)[^/\s?]+")


class Mask(logging.Filter):
    """Takes the secrets of join links, which are paths, out of messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = SECRET.sub(r"\1…", record.getMessage()), ()
        return True

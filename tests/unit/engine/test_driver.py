from __future__ import annotations

import pytest

from farmlet.engine.nodes import driver as seam
from farmlet.errors import FarmletError


def test_an_error_of_a_command_names_node_and_cause() -> None:
    with pytest.raises(FarmletError) as caught:
        seam.call(["sh", "-c", "echo why >&2; exit 9"], "head")
    assert caught.value.where == "head" and "9" in caught.value.what and "why" in caught.value.what
    with pytest.raises(FarmletError) as caught:
        seam.call(["no-such-program-here"], "head")
    assert "not installed" in caught.value.what and caught.value.hint

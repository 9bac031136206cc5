"""What the section `storage:` takes of elements that are not ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from farmlet.parts.storage.config import Storage


def element(url: str) -> dict[str, Any]:
    return {"elements": [{"name": "se", "kind": "dcache", "url": url}]}


@pytest.mark.parametrize("port", ["0", "00000", "65536", "99999"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ValidationError, match="its port is not a number from 1 to 65535"):
        Storage.model_validate(element(f"https://se.example.org:{port}"))


@pytest.mark.parametrize("url", ["https://se.example.org", "https://se.example.org:1", "https://10.0.0.7:65535/"])
def test_an_element_is_at_a_host_and_a_port(url: str) -> None:
    (found,) = Storage.model_validate(element(url)).elements
    assert found.url == url.rstrip("/") and urlsplit(found.url).port in (None, 1, 65535)

"""What members store for the credential monitor, made by the device flow at a real issuer."""

from __future__ import annotations

import json
from pathlib import Path

from browser import Browser
from issuer import ELEMENTS, Service

SCOPE = "offline_access storage.read:/ storage.modify:/"
ELEMENT, OTHER = ELEMENTS[:2]


def store(house: Service, browser: Browser, folder: Path, client: str = "hasty") -> Path:
    """What condor_credd does with the credential of a member."""
    token = house.connect(browser, client, scope=SCOPE)["refresh_token"]
    folder.mkdir(exist_ok=True)
    top = folder / "farmlet.top"
    top.write_text(json.dumps({"issuer": house.issuer, "client_id": client, "refresh_token": token}))
    return top

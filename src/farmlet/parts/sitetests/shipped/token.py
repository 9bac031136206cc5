# /// sitetest
# timeout = 30
# token = true
# ///
"""A token that the facility gives is fresh when a job at the site looks at it: of our issuer, begun, and with time to go."""

import base64
import json
import os
import time
from typing import Tuple, Union

LEAST = 120  # seconds that it has to be good for
LEEWAY = 60  # seconds between clocks


def test() -> Union[str, Tuple[int, str]]:
    try:
        with open(os.environ["BEARER_TOKEN_FILE"]) as stream:
            body = stream.read().strip().split(".")[1]
    except (KeyError, OSError, IndexError):
        return 3, "there is no token: " + (os.environ.get("FARMLET_NO_TOKEN") or "this facility gives tests none")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode())
    now = time.time()
    left, begins = claims["exp"] - now, claims.get("nbf", claims.get("iat", 0)) - now
    issuer = os.environ["FARMLET_ISSUER"]
    assert claims["iss"] == issuer, f"the token is of {claims['iss']}, not {issuer}"
    assert begins <= LEEWAY, f"by the clock here the token begins in {begins:.0f} s|left={left:.0f}s"
    assert left >= LEAST, f"by the clock here the token is good for {left:.0f} s|left={left:.0f}s"
    return f"the token is good for {left / 60:.0f} min|left={left:.0f}s"

# /// sitetest
# timeout = 30
# ///
"""The worker node's clock goes with the facility's: tokens and certificates live by it."""

import os
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from ssl import CERT_NONE, create_default_context
from typing import Tuple, Union

MOST = 30.0  # seconds it may differ
WARN = 5.0


def test() -> Union[str, Tuple[int, str]]:
    anybody = create_default_context()  # with a wrong clock no certificate is valid
    anybody.check_hostname = False
    anybody.verify_mode = CERT_NONE
    request = urllib.request.Request(os.environ["FARMLET_ISSUER"], method="HEAD")
    before = time.time()
    try:
        answer = urllib.request.urlopen(request, timeout=10, context=anybody)
    except urllib.error.HTTPError as error:
        answer = error
    except OSError as error:
        return 3, f"nobody tells the time: {error}"
    with answer:
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    # what is told is a whole second, and was true at some time while we waited
    off = max(0.0, before - told - 1, told - time.time())
    text = f"the clock differs by {off:.1f} s|off={off:.1f}s;{WARN:g};{MOST:g}"
    assert off <= MOST, text
    return (1, text) if off > WARN else text

# /// sitetest
# timeout = 60
# ///
"""Each storage element is reached from the site's worker nodes, shows a certificate that jobs trust, and answers. It is asked
without a token: who has none must be refused."""

import os
import ssl
import time
import urllib.error
import urllib.request

PATIENCE = 10.0  # seconds


def test() -> str:
    bundle = os.environ["FARMLET_CERTIFICATES"] + "/bundle.pem"
    assert os.path.exists(bundle), f"{bundle} is not here, by which jobs know storage"
    trust = ssl.create_default_context(cafile=bundle)
    faults, numbers = [], []
    for url in os.environ["FARMLET_ELEMENTS"].split():
        start = time.monotonic()
        request = urllib.request.Request(f"{url.rstrip('/')}/data", method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PATIENCE, context=trust).close()
            faults.append(f"{url} shows /data without a token")
        except urllib.error.HTTPError as error:
            print(f"{url}: HTTP {error.code}")
            if error.code not in (401, 403, 404):
                faults.append(f"{url}: HTTP {error.code}")
        except OSError as error:
            faults.append(f"{url}: {error}")
        numbers.append(f"'{url.split('//')[-1]}'={time.monotonic() - start:.3f}s")
    assert not faults, "; ".join(faults) + "|" + " ".join(numbers)
    return f"{len(numbers)} elements answer|{' '.join(numbers)}"

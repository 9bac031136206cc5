# /// sitetest
# timeout = 120
# ///
"""Members' jobs run in containers here: the facility's default image is there and starts."""

import os
import subprocess
import time


def test() -> str:
    image = os.environ["FARMLET_IMAGE"]
    assert os.path.isdir(image), f"{image} is not here"
    start = time.monotonic()
    done = subprocess.run(
        ["apptainer", "-s", "exec", "--containall", image, "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(done.stdout.decode(errors="replace"))
    last = (done.stdout.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    assert done.returncode == 0, f"{image} does not start: {last}"
    return f"{image} starts|seconds={time.monotonic() - start:.3f}s"

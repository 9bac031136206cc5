"""What goes to a site for one job, beside the runner: the tests with their files, and the submit description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from farmlet.parts.sitetests.result import HEAD, TAIL
from farmlet.parts.sitetests.suite import Test

TOKEN = "spec.token"  # the file, beside spec.json
MARGIN = 60  # seconds a job may take beside its tests
# The account's own drones have a lower priority: tests that wait behind them would come too late.
SUBMIT = """initialdir = {name}
executable = {name}/runner.py
transfer_executable = True
transfer_input_files = {files}
transfer_output_files = result.json
should_transfer_files = YES
when_to_transfer_output = ON_EXIT
output = out
error = err
log = log
request_cpus = {cores}
request_memory = {memory}
request_disk = {disk}
priority = 100
+FarmletRun = "{name}"
periodic_remove = (JobStatus == 1 && time() - QDate > {wait}) || (JobStatus == 2 && time() - JobCurrentStartDate > {limit})
queue
"""


def limit(tests: Sequence[Test]) -> int:
    """Seconds that a job with these tests may run."""
    return sum(test.timeout for test in tests) + MARGIN


def pack(name: str, tests: Sequence[Test], environment: Mapping[str, str], wait: int, token: str = "") -> dict[str, bytes]:
    """The files of the job `name` by their paths. `wait`: seconds it may be in the queue when nobody asks for it any more;
    `token`: for its tests. Raises OSError."""
    spec = {
        "tests": [{"name": one.name, "file": one.paths[0].name, "kind": one.kind, "timeout": one.timeout} for one in tests],
        "environment": dict(environment),
        "head": HEAD,
        "tail": TAIL,
    }
    described = SUBMIT.format(
        name=name,
        files=", ".join(["spec.json", *([TOKEN] if token else []), *(test.name for test in tests)]),
        wait=wait,
        limit=limit(tests),
        # one runs after the other
        cores=max(test.cores for test in tests),
        memory=max(test.memory for test in tests),
        disk=max(test.disk for test in tests) * 1024,
    )
    packed = {"spec.json": json.dumps(spec).encode(), "job.sub": described.encode()}
    if token:
        packed[TOKEN] = token.encode()
    return packed | {f"{test.name}/{path.name}": path.read_bytes() for test in tests for path in test.paths}

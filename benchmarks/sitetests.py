"""What the service of site tests costs for 1 000 sites with 10 tests each, every 10 minutes: processor time and memory.

The sites are played: in place of `ssh` a program of awk answers as a site's outpost does, which takes a job, has it run for six
seconds, and gives ten results back. That program's time is counted too, its memory is not; a real `ssh` takes more of both.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

SITES, TESTS, EVERY = 1000, 10, 600
SECONDS = int(os.environ.get("SECONDS_MEASURED", "600"))
CALM = 130  # seconds until the first tests begin
# mawk, which reads a line as a whole; what stands in place of `ssh` and all behind it
SITE = """BEGIN { ARGC = 1 }
/"submit"/ || /"names": .]/ { print "farmlet: {}"; fflush(); next }
match($0, /"names": ..[^"]*/) {
  name = substr($0, RSTART + 11, RLENGTH - 11)
  system("sleep 6"); getline told < "RESULT"; close("RESULT")
  print "farmlet: {\\"results\\": {\\"" name "\\": \\"" told "\\"}}"; fflush()
}
"""


def prepare(folder: Path) -> None:
    for name in ("none", "own", "gates"):
        (folder / name).mkdir()
    names = [f"test{number}" for number in range(TESTS)]
    for name in names:
        (folder / f"own/{name}.py").write_text("def test(): pass\n")
    row = {
        "code": 0,
        "text": "all is well|seconds=1.2s",
        "at": 0,
        "seconds": 1.2,
        "output": "a line of output\n" * 10,
        "dropped": 0,
    }
    said = json.dumps({"host": "wn1", "results": [{"name": name, **row} for name in names]})
    (folder / "result").write_text(base64.b64encode(said.encode()).decode() + "\n")
    (folder / "site.awk").write_text(SITE.replace("RESULT", str(folder / "result")))


def serve(folder: Path) -> None:
    """The service, in a process of its own; what it cost goes to standard output."""
    import asyncio

    from farmlet.parts.sitetests.jobs.queue import Place, Queue
    from farmlet.parts.sitetests.scheduler import Folders, Scheduler, Site
    from farmlet.parts.sitetests.store import Store

    sites = {}
    for number in range(SITES):
        name = f"site{number:04}"
        login = ["mawk", "-W", "interactive", "-f", str(folder / "site.awk")]
        sites[name] = Site(name, Queue(Place(name, "h", "u", "tests"), login), {})
    folders = Folders(folder / "none", folder / "own", folder / "gates", folder / "told.json")
    store = Store(folder / "results.sqlite3")
    scheduler = Scheduler(sites, store, folders, EVERY, 300, 30 * 86400, 10)

    async def work() -> None:
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(CALM)
        before, began = spend(), time.monotonic()
        await asyncio.sleep(SECONDS)
        own, others = (100 * (now - then) / (time.monotonic() - began) for now, then in zip(spend(), before, strict=True))
        task.cancel()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        stored = store._base.execute("SELECT count(*) FROM result").fetchone()[0]
        print(json.dumps({"share": own + others, "own": own, "memory": memory, "results": stored}), flush=True)
        os._exit(0)  # what is under way is not waited for

    asyncio.run(work())


def spend() -> tuple[float, float]:
    """Processor seconds of this process, and of those that it began and that have ended."""
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return used[0].ru_utime + used[0].ru_stime, used[1].ru_utime + used[1].ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        done = subprocess.run([sys.executable, __file__, "serve", name], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    wanted = SITES * TESTS * SECONDS / EVERY
    if found["results"] < 0.8 * wanted:
        sys.exit(f"only {found['results']} results came in where {wanted:.0f} were due: this is no figure\n{done.stderr[-2000:]}")
    note = f"{found['results']} results in {CALM + SECONDS} s; {found['own']:.1f} % of a core in the service's own process"
    what = f"{SITES} sites, {TESTS} tests each 10 minutes, played"
    record(f"site tests: {what}: share of a core", "≤ 20 %", "%", [found["share"]], note)
    record(f"site tests: {what}: memory", "≤ 150 MiB", "MiB", [found["memory"]])


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()

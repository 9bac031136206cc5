"""The job: its mass is the recorded one, its slices cover the file, its requests carry the token of the moment."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uproot

from farmlet.demo.analysis.dimuon import CUTS, Storage, compute_mass, fill, load_rows, main, store
from farmlet.demo.data import ROWS
from farmlet.demo.jobs import cut_rows

if TYPE_CHECKING:
    from .conftest import Element


def test_mass_is_the_recorded_one(recorded: bytes) -> None:
    rows = load_rows(recorded, 0, ROWS)
    mass = compute_mass(rows)
    assert mass.shape == (ROWS,)
    assert np.abs(mass - rows["M"]).max() < 1e-6


def test_mass_of_two_massless_back_to_back() -> None:
    rows = {"E1": [45.0], "E2": [45.0], "px1": [45.0], "px2": [-45.0]} | {f"p{a}{i}": [0.0] for a in "yz" for i in "12"}
    assert compute_mass({name: np.array(value) for name, value in rows.items()}) == pytest.approx([90.0])


@pytest.mark.parametrize("jobs", [1, 7, 8, 100])
def test_slices_cover_every_row_once(recorded: bytes, jobs: int) -> None:
    slices = cut_rows(ROWS, jobs)
    assert [row for first, last in slices for row in range(first, last)] == list(range(ROWS))
    if jobs <= 8:
        parts = [fill(load_rows(recorded, first, last)) for first, last in slices]
        whole = fill(load_rows(recorded, 0, ROWS))
        assert sum(cuts.values()[0] for _, cuts, _ in parts) == ROWS
        assert np.array_equal(sum(histogram.values() for histogram, _, _ in parts), whole[0].values())


def test_each_collision_counts_once(recorded: bytes) -> None:
    """All candidates would count a collision four times; what is kept has hardly more than one pair for each."""
    rows = load_rows(recorded, 0, ROWS)
    with uproot.open(io.BytesIO(recorded)) as file:
        collisions = len(set(zip(*file["events"].arrays(["Run", "Event"], library="np").values(), strict=True)))
    _, cuts, _ = fill(rows)
    counts = dict(zip(CUTS, cuts.values(), strict=True))
    assert counts["rows"] == ROWS
    assert collisions <= counts["opposite charge"] < 1.05 * collisions


def test_histogram_is_a_root_file_anyone_can_read(recorded: bytes) -> None:
    histogram, cuts, _ = fill(load_rows(recorded, 0, ROWS))
    with uproot.open(io.BytesIO(store(histogram, cuts))) as file:
        assert file["mass"].classname == "TH1D"
        assert file["mass"].values().sum() == cuts.values()[-1] > 400
        assert file["mass"].axis().edges()[[0, -1]].tolist() == [60.0, 120.0]


def test_job_end_to_end(
    recorded: bytes, element: Element, token: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    machine = tmp_path / "machine.ad"
    machine.write_text('Name = "slot1@x"\nFarmletSite = "tier9"\n')
    monkeypatch.setenv("_CONDOR_MACHINE_AD", str(machine))
    element.files["/in"] = recorded
    code = main(["--input", f"{element.url}/in", "--output", f"{element.url}/out", "--first", "0", "--last", "288"])
    said = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (said["counts"]["rows"], said["site"], said["image"]) == (288, "tier9", "none")
    assert element.files["/out"].startswith(b"root")


def test_job_without_right_fails(element: Element, token: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token.write_text("stolen")
    code = main(["--input", f"{element.url}/in", "--output", f"{element.url}/out", "--first", "0", "--last", "9"])
    assert code == 1
    assert "403" in capsys.readouterr().err
    assert len(element.requests) == 1, "a refusal is not retried"


def test_token_is_read_for_every_request(element: Element, tmp_path: Path) -> None:
    path = tmp_path / "farmlet.use"
    storage = Storage({"_CONDOR_CREDS": str(tmp_path)}, pause=0.0)
    path.write_text("first")
    storage.write(f"{element.url}/a", b"1")
    path.write_text(json.dumps({"access_token": "second", "expires_in": 60}))
    element.token = "second"
    assert storage.read(f"{element.url}/a") == b"1"


def test_faults_of_the_server_are_tried_again(element: Element, token: Path) -> None:
    storage = Storage({"BEARER_TOKEN_FILE": str(token)}, pause=0.0)
    element.failures = 3
    storage.write(f"{element.url}/a", b"1")
    assert element.files["/a"] == b"1"
    element.failures = 4
    with pytest.raises(OSError, match="503"):
        storage.read(f"{element.url}/a")


def test_no_token_names_the_places(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no bearer token in any of .*absent"):
        Storage({"BEARER_TOKEN_FILE": str(tmp_path / "absent")}).load_token()

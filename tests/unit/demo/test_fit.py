"""The fit: the Z boson where it is, and a plain refusal where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from farmlet.demo.analysis.dimuon import fill, load_rows, store
from farmlet.demo.analysis.fit import fit, main, merge
from farmlet.demo.analysis.shape import WINDOW, integrate_peak
from farmlet.demo.data import ROWS
from farmlet.demo.jobs import cut_rows

if TYPE_CHECKING:
    from .conftest import Element


def fill_element(element: Element, recorded: bytes, scale: float = 1.0) -> list[str]:
    """Histograms of eight jobs on the storage, energies scaled by `scale`; their URLs."""
    urls = []
    for number, (first, last) in enumerate(cut_rows(ROWS, 8)):
        rows = load_rows(recorded, first, last)
        rows |= {name: rows[name] * scale for name in rows if name[0] in "Ep"}
        histogram, cuts, _ = fill(rows)
        element.files[f"/{number}"] = store(histogram, cuts)
        urls.append(f"{element.url}/{number}")
    return urls


def run(tmp_path: Path, urls: list[str]) -> int:
    return main(["--rows", str(ROWS), "--directory", str(tmp_path / "out"), *urls])


def test_peak_is_the_z_boson(recorded: bytes, element: Element, token: Path, tmp_path: Path) -> None:
    assert run(tmp_path, fill_element(element, recorded)) == 0
    found = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert WINDOW[0] <= found["mass"] <= WINDOW[1]
    assert 0.05 < found["mass_error"] < 0.3
    assert found["rows"] == ROWS
    assert found["signal"] + found["background"] == pytest.approx(found["fitted"], rel=0.01)
    assert found["chi2"] / found["ndf"] < 2
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "plot.pdf").read_bytes().startswith(b"%PDF")


def test_mass_outside_the_window_fails(
    recorded: bytes, element: Element, token: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, fill_element(element, recorded, scale=1.03)) == 1
    assert "outside 90.0 to 91.5 GeV" in capsys.readouterr().err


def test_missing_slice_fails(
    recorded: bytes, element: Element, token: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = fill_element(element, recorded)
    assert run(tmp_path, urls[:-1]) == 1
    assert "2016 rows of 2304" in capsys.readouterr().err
    assert run(tmp_path, [*urls, f"{element.url}/absent"]) == 1
    assert "404" in capsys.readouterr().err


def test_fit_finds_what_was_put_in() -> None:
    """Pseudo-data with a known mass: the estimate is within four of its own errors, and its error is right in size."""
    random = np.random.default_rng(7)
    gamma = 91.0 + np.tan(np.pi * (random.random(4000) - 0.5)) * 2.4955 / 2
    sample = np.concatenate([gamma + random.normal(0, 1.5, 4000), 60 + random.exponential(30, 600)])
    counts, edges = np.histogram(sample, 120, (60, 120))
    result, _ = fit(counts.astype(float), edges, np.array([4600.0, 4600, 4600, 4600]))
    assert abs(result.mass - 91.0) < 4 * result.mass_error
    assert result.mass_error < 0.06
    assert abs(result.resolution - 1.5) < 4 * result.resolution_error


def test_peak_integral_is_a_distribution() -> None:
    edges = np.array([1.0, 60.0, 91.0, 120.0, 1e5])
    integral = integrate_peak(edges, 91.0, 1.5)
    assert np.all(np.diff(integral) > 0)
    assert integral[2] == pytest.approx(0.5, abs=0.01)
    assert integral[-1] == pytest.approx(1.0, abs=1e-4)


def test_merge_adds_bins_and_cuts(recorded: bytes) -> None:
    parts = [store(*fill(load_rows(recorded, first, last))[:2]) for first, last in cut_rows(ROWS, 3)]
    whole = merge([store(*fill(load_rows(recorded, 0, ROWS))[:2])])
    for one, other in zip(merge(parts), whole, strict=True):
        assert np.array_equal(one, other)

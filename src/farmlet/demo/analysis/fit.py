"""The end of the analysis, on the log-in node: fetch the jobs' histograms, merge them, fit the Z boson, draw the plot.

    python3 -m analysis.fit --rows 2304 --directory OUT URL...

Writes fit.json, plot.png and plot.pdf into OUT. Exit code 1 when a histogram is missing, rows are lost or counted
twice, the fit does not converge, or the mass is not where the Z boson is.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import uproot
from iminuit import Minuit
from iminuit.cost import ExtendedBinnedNLL

from .dimuon import CUTS, Array, Storage, describe
from .shape import WIDTH, Result, Wrong, integrate


def merge(files: list[bytes]) -> tuple[Array, Array, Array]:
    """Bin contents and bin edges (GeV) of the summed mass histogram, and the summed cut counts, of ROOT files."""
    masses, cuts = [], []
    for data in files:
        with uproot.open(io.BytesIO(data)) as file:
            masses.append(file["mass"].to_hist())
            cuts.append(file["cuts"].values())
    if not masses:
        raise Wrong("no histogram to merge")
    total = sum(masses[1:], masses[0])
    return total.values(), total.axes[0].edges, np.sum(cuts, axis=0, dtype=np.float64)


def compare(counts: Array, expected: Array) -> tuple[float, int]:
    """Pearson's χ² and the number of terms, neighbouring bins joined until at least five pairs are expected in each."""
    starts, sum_so_far = [0], 0.0
    for index, value in enumerate(expected):
        sum_so_far += value
        if sum_so_far >= 5 and expected[index + 1 :].sum() >= 5:
            starts.append(index + 1)
            sum_so_far = 0.0
    seen, wanted = np.add.reduceat(counts, starts), np.add.reduceat(expected, starts)
    return float(((seen - wanted) ** 2 / wanted).sum()), len(starts)


def fit(counts: Array, edges: Array, cuts: Array) -> tuple[Result, Minuit]:
    """Extended binned maximum-likelihood fit. Raises Wrong if it does not converge."""
    total = float(counts.sum())
    if total < 50:
        raise Wrong(f"only {total:.0f} pairs between {edges[0]:.0f} and {edges[-1]:.0f} GeV: nothing to fit")
    start = float((edges[:-1] + edges[1:])[np.argmax(counts)] / 2)
    minuit = Minuit(
        ExtendedBinnedNLL(counts, edges, integrate),
        signal=0.9 * total, background=0.1 * total, mass=start, resolution=1.5, slope=0.05,
    )  # fmt: skip
    minuit.limits["signal", "background"] = (0, None)
    minuit.limits["resolution"] = (0.2, 6)
    minuit.limits["slope"] = (0.001, 0.5)
    minuit.limits["mass"] = (edges[0], edges[-1])
    minuit.migrad()
    minuit.hesse()
    if not minuit.valid:
        raise Wrong("the fit did not converge")
    chi2, terms = compare(counts, np.diff(integrate(edges, *minuit.values)))
    value, error = minuit.values, minuit.errors
    result = Result(
        mass=value["mass"], mass_error=error["mass"], width=WIDTH,
        resolution=value["resolution"], resolution_error=error["resolution"],
        signal=value["signal"], signal_error=error["signal"],
        background=value["background"], background_error=error["background"], slope=value["slope"],
        chi2=chi2, ndf=terms - minuit.nfit,
        rows=round(cuts[0]), pairs=round(cuts[CUTS.index("opposite charge")]), fitted=round(total),
    )  # fmt: skip
    return result, minuit


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, required=True, help="rows the input file has")
    parser.add_argument("--directory", type=Path, default=Path())
    parser.add_argument("urls", nargs="+", metavar="URL")
    options = parser.parse_args(arguments)
    storage = Storage(dict(os.environ))
    try:
        counts, edges, cuts = merge([storage.read(url) for url in options.urls])
        result, minuit = fit(counts, edges, cuts)
        options.directory.mkdir(parents=True, exist_ok=True)
        # the plot and the numbers are there for whoever looks for the reason of a failure
        text = json.dumps({**asdict(result), "shell": describe({})}, indent=2)
        (options.directory / "fit.json").write_text(text + "\n")
        from .plot import draw

        draw(counts, edges, result, list(minuit.values), options.directory)
        result.check(options.rows)
    except (Wrong, OSError, ValueError, KeyError) as error:
        print(f"fit.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

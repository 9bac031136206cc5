"""The picture of the fit: data with errors, the fitted curve and its background, and the pulls below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from .shape import Result, integrate, integrate_parts

if TYPE_CHECKING:
    from .dimuon import Array

DATA, CURVE, BACKGROUND = "black", "#b2182b", "#2166ac"  # told apart without colour too: points, line, dashes


def draw(counts: Array, edges: Array, result: Result, parameters: list[float], directory: Path) -> None:
    """Write plot.png and plot.pdf into `directory`. `parameters`: those of shape.integrate, in its order."""
    with mpl.rc_context({"font.size": 11, "axes.linewidth": 0.9, "xtick.direction": "in", "ytick.direction": "in"}):
        figure = Figure(figsize=(7.2, 6.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        _draw_spectrum(upper, counts, edges, result, parameters)
        _draw_pulls(lower, counts, edges, parameters)
        for axes in (upper, lower):
            axes.tick_params(which="both", top=True, right=True)
            axes.minorticks_on()
        figure.align_ylabels()
        for name in ("plot.png", "plot.pdf"):
            figure.savefig(directory / name, dpi=160)


def _draw_spectrum(axes: Any, counts: Array, edges: Array, result: Result, parameters: list[float]) -> None:
    width = edges[1] - edges[0]
    fine = np.linspace(edges[0], edges[-1], 1201)
    centres = (fine[:-1] + fine[1:]) / 2
    # the curves are shown as pairs per bin of the data
    peak, fall = (np.diff(part) * width / (fine[1] - fine[0]) for part in integrate_parts(fine, *parameters))
    axes.plot(centres, peak + fall, color=CURVE, lw=1.8, label="Breit–Wigner ⊗ Gaussian + exponential")
    axes.plot(centres, fall, color=BACKGROUND, lw=1.5, ls="--", label="Exponential background")
    low, high = interval(counts)
    axes.errorbar((edges[:-1] + edges[1:]) / 2, counts, yerr=(counts - low, high - counts), fmt="o", color=DATA, ms=3.2,
                  lw=0.9, label=f"Data, {result.fitted} pairs")  # fmt: skip
    axes.set_ylabel(f"Events / {width:g} GeV")
    axes.set_ylim(0, 1.3 * float(high.max()))
    handles, labels = axes.get_legend_handles_labels()
    order = [2, 0, 1]  # data first
    axes.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper left", frameon=False,
                bbox_to_anchor=(0.0, 0.93), fontsize=10)  # fmt: skip
    axes.text(0.018, 0.955, "CMS open data", transform=axes.transAxes, va="center", weight="bold")
    axes.text(0.245, 0.955, "pp → Z → μ⁺μ⁻, √s = 7 TeV, 2010", transform=axes.transAxes, va="center", fontsize=10)
    text = (
        f"$m_Z$ = {result.mass:.2f} ± {result.mass_error:.2f} GeV\n"
        f"$\\sigma$ = {result.resolution:.2f} ± {result.resolution_error:.2f} GeV\n"
        f"$\\Gamma_Z$ = {result.width:.4f} GeV (fixed)\n"
        f"$\\chi^2$/ndf = {result.chi2:.1f}/{result.ndf}"
    )
    axes.text(0.975, 0.90, text, transform=axes.transAxes, va="top", ha="right", linespacing=1.5)


def _draw_pulls(axes: Any, counts: Array, edges: Array, parameters: list[float]) -> None:
    """(data − fit)/√fit by groups of four bins: where a single bin expects less than one pair, it has no pull."""
    joined = edges[::4]
    expected = np.diff(integrate(edges, *parameters)).reshape(-1, 4).sum(axis=1)
    pulls = (counts.reshape(-1, 4).sum(axis=1) - expected) / np.sqrt(expected)
    axes.axhspan(-1, 1, color="0.92", lw=0)
    axes.axhline(0, color=CURVE, lw=1.2)
    axes.errorbar((joined[:-1] + joined[1:]) / 2, pulls, yerr=1, fmt="o", color=DATA, ms=3.2, lw=0.9)
    axes.set_ylim(-4.2, 4.2)
    axes.set_yticks((-3, 0, 3))
    axes.set_ylabel(f"Pull / {joined[1] - joined[0]:g} GeV")
    axes.set_xlabel("m(μ⁺μ⁻) [GeV]")
    axes.set_xlim(edges[0], edges[-1])


def interval(counts: Array) -> tuple[Array, Array]:
    """Ends of an approximate 68 % interval for the mean of each count, n + ½ ± √(n + ¼): fit for empty bins too."""
    root = np.sqrt(counts + 0.25)
    return np.maximum(counts + 0.5 - root, 0.0), counts + 0.5 + root

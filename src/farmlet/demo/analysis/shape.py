"""What is fitted and how it comes out: a Z boson above an exponential."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dimuon import Array

WIDTH = 2.4955  # GeV: total width of the Z boson, Particle Data Group 2024; the resolution is what the data tell
WINDOW = (90.0, 91.5)  # GeV: where the fitted mass must be
# Gauss–Hermite nodes: the resolution is folded in by a sum that is exact far below the statistical errors
NODES, WEIGHTS = np.polynomial.hermite.hermgauss(48)


class Wrong(Exception):
    """The analysis did not come out as it must; the text says how."""


@dataclass(frozen=True)
class Result:
    """The fit. Masses, width and resolution in GeV; `chi2` over groups of bins with at least five expected pairs."""

    mass: float
    mass_error: float
    width: float
    resolution: float
    resolution_error: float
    signal: float
    signal_error: float
    background: float
    background_error: float
    slope: float
    chi2: float
    ndf: int
    rows: int
    pairs: int
    fitted: int

    def check(self, rows: int) -> None:
        """Raises Wrong unless every row was counted once and the mass is in the window."""
        if self.rows != rows:
            raise Wrong(f"the histograms hold {self.rows} rows of {rows}: a slice is missing or counted twice")
        if not WINDOW[0] <= self.mass <= WINDOW[1]:
            raise Wrong(f"fitted mass {self.mass:.2f} GeV is outside {WINDOW[0]} to {WINDOW[1]} GeV: not the Z boson")


def integrate_peak(edges: Array, mass: float, resolution: float) -> Array:
    """Integral up to each edge (GeV) of a relativistic Breit–Wigner in s = m², folded with a Gaussian; 1 over all m."""
    shifted = edges[:, None] - np.sqrt(2) * resolution * NODES
    cumulative = 0.5 + np.arctan((shifted**2 - mass**2) / (mass * WIDTH)) / np.pi
    integral: Array = cumulative @ WEIGHTS / np.sqrt(np.pi)
    return integral


def integrate_parts(
    edges: Array, signal: float, background: float, mass: float, resolution: float, slope: float
) -> tuple[Array, Array]:
    """Expected pairs from the first edge up to each edge: of the peak, and of the exponential (`slope` in 1/GeV)."""
    peak = integrate_peak(edges, mass, resolution)
    peak = signal * (peak - peak[0]) / (peak[-1] - peak[0])
    fall = -np.expm1(-slope * (edges - edges[0]))
    return peak, background * fall / fall[-1]


def integrate(edges: Array, signal: float, background: float, mass: float, resolution: float, slope: float) -> Array:
    peak, fall = integrate_parts(edges, signal, background, mass, resolution, slope)
    return peak + fall

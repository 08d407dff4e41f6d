"""A measured share, with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Rate:
    """A share of scored samples; `invalid` ones (empty or degenerate) are counted beside it, never dropped.

    Raises:
        ValueError: n = 0 (an empty set has no rate), or hits or invalid outside 0..n.
    """

    hits: int
    n: int
    invalid: int = 0

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("a rate over no samples does not exist")
        if not (0 <= self.hits <= self.n and 0 <= self.invalid <= self.n):
            raise ValueError(f"hits {self.hits} and invalid {self.invalid} must lie in 0..{self.n}")

    @property
    def value(self) -> float:
        """The share hits / n, in 0..1."""
        return self.hits / self.n

    def interval(self, z: float = Z95) -> tuple[float, float]:
        """Wilson's interval."""
        p, n = self.value, self.n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        # Exact at both ends, where rounding would leave 3e-18 instead of 0.
        low = 0.0 if self.hits == 0 else max(0.0, centre - half)
        high = 1.0 if self.hits == n else min(1.0, centre + half)
        return low, high

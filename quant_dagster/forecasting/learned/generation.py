"""Features made from features, by a small grammar with a fixed number of sentences.

From the ``BASES`` best features x, y of a fold's training part, best first:

=====================  ================================================================================
``rank(x)``            centred percentile rank within the session: what x says against the other symbols
``lag(x,5)``           x as it was five sessions ago
``change(x,5)``        x less what it was five sessions ago
``difference(x,y)``    centred rank of x less that of y, for pairs of the ``PAIRED`` best
``product(x,y)``       centred rank of x times that of y: where both agree
``ratio(x,y)``         x over the absolute value of y; absent where y is zero
=====================  ================================================================================

That is at most ``3 * BASES + 3 * PAIRED * (PAIRED - 1) / 2`` sentences. None looks at another session than its own and
an earlier one, and none at an outcome: a value is causal wherever the features are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from threading import Lock

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.learned.dataset import Inputs, centred_rank

BASES = 12
PAIRED = 6
LAG = 5
_SENTENCE = re.compile(r"(\w+)\((\w+)(?:,(\w+))?\)")


class Operation(StrEnum):
    """What is done to features; ``VALUE`` is the feature itself."""

    VALUE = "value"
    RANK = "rank"
    LAG = "lag"
    CHANGE = "change"
    DIFFERENCE = "difference"
    PRODUCT = "product"
    RATIO = "ratio"


_OPERATIONS = {operation.value for operation in Operation if operation is not Operation.VALUE}


@dataclass(frozen=True)
class Sentence:
    """One generated feature: ``second`` is the other feature, or the lag as a number."""

    operation: Operation
    first: str
    second: str | None = None

    @property
    def name(self) -> str:
        """As it is written in results; :func:`parsed` reads it back."""
        if self.operation is Operation.VALUE:
            return self.first
        return f"{self.operation.value}({self.first}{'' if self.second is None else ',' + self.second})"


def parsed(name: str) -> Sentence:
    """The sentence behind a name.

    Raises
    ------
    ForecastError
        It is not of the grammar.
    """
    match = _SENTENCE.fullmatch(name)
    if match is None and re.fullmatch(r"\w+", name):
        return Sentence(Operation.VALUE, name)
    if match is None or match[1] not in _OPERATIONS:
        raise ForecastError(f"'{name}' is no feature and none made from features: train the model anew")
    return Sentence(Operation(match[1]), match[2], match[3])


def sentences(bases: Sequence[str]) -> list[str]:
    """Names of everything the grammar makes from ``bases``, which are in order of merit."""
    used = list(bases[:BASES])
    made = [Sentence(Operation.RANK, x) for x in used]
    made += [Sentence(operation, x, str(LAG)) for operation in (Operation.LAG, Operation.CHANGE) for x in used]
    pairs = list(combinations(used[:PAIRED], 2))
    made += [
        Sentence(operation, x, y)
        for operation in (Operation.DIFFERENCE, Operation.PRODUCT, Operation.RATIO)
        for x, y in pairs
    ]
    return [sentence.name for sentence in made]


def evaluate(name: str, inputs: Inputs, sessions: IntArray) -> FloatArray:
    """Values of a feature, generated or not, at some rows of the inputs; shape (t, m), NaN is absent."""
    sentence = parsed(name)
    unknown = [x for x in (sentence.first, sentence.second) if x and not x.isdigit() and x not in inputs.names]
    if unknown:
        raise ForecastError(f"'{name}' needs {unknown[0]}, of which the panel has no value: train the model anew")
    first = inputs[sentence.first][sessions]
    if sentence.operation is Operation.VALUE:
        return first
    if sentence.operation is Operation.RANK:
        return centred_rank(first)
    second = sentence.second
    if second is None:
        raise ForecastError(f"'{name}' lacks its second part: train the model anew")
    if sentence.operation in (Operation.LAG, Operation.CHANGE):
        lag = int(second)
        known = sessions >= lag
        before = np.where(known[:, None], inputs[sentence.first][np.where(known, sessions - lag, 0)], np.nan)
        return before if sentence.operation is Operation.LAG else first - before
    other = inputs[second][sessions]
    if sentence.operation is Operation.DIFFERENCE:
        return centred_rank(first) - centred_rank(other)
    if sentence.operation is Operation.PRODUCT:
        return centred_rank(first) * centred_rank(other)
    with np.errstate(over="ignore"):
        ratio = first / np.where(other == 0.0, np.nan, np.abs(other))
    return np.where(np.isfinite(ratio), ratio, np.nan)


class Candidates:
    """Values of features at fixed sessions, each worked out when first asked for and then kept."""

    def __init__(self, inputs: Inputs, sessions: IntArray) -> None:
        self.inputs, self.sessions = inputs, sessions
        self._known: dict[str, FloatArray] = {}
        self._lock = Lock()

    def __getitem__(self, name: str) -> FloatArray:
        """Shape (t, m)."""
        found = self._known.get(name)
        if found is None:
            found = evaluate(name, self.inputs, self.sessions)
            with self._lock:
                self._known[name] = found
        return found

    def table(self, names: Sequence[str], rows: IntArray, wanted: np.ndarray) -> FloatArray:
        """Features as columns for the cells of ``rows`` that ``wanted``, bool (rows, m), marks; shape (cells, k)."""
        out = np.empty((int(wanted.sum()), len(names)), order="F")
        for i, name in enumerate(names):
            out[:, i] = self[name][rows][wanted]
        return out

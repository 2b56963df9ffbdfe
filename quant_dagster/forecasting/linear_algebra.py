"""Small dense systems inside compiled kernels, without a call into LAPACK."""

from __future__ import annotations

import math

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import FloatArray


@njit(cache=True, nogil=True, error_model="numpy")
def solve_positive_definite(matrix: FloatArray, vector: FloatArray, factor: FloatArray, solution: FloatArray) -> bool:
    """Solve ``matrix @ solution = vector`` by Cholesky's method.

    Parameters
    ----------
    matrix
        Symmetric, at least as large as the vector; only the leading lower triangle is read.
    factor
        Scratch of the matrix's shape.
    solution
        Written, as many entries as the vector has.

    Returns
    -------
    bool
        False when the matrix is not numerically positive definite; ``solution`` is then not to be used.
    """
    size = len(vector)
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if not total > 1e-13 * abs(matrix[i, i]):
                    return False
                factor[i, i] = math.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(size):
        total = vector[i]
        for k in range(i):
            total -= factor[i, k] * solution[k]
        solution[i] = total / factor[i, i]
    for i in range(size - 1, -1, -1):
        total = solution[i]
        for k in range(i + 1, size):
            total -= factor[k, i] * solution[k]
        solution[i] = total / factor[i, i]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def fill_upper(matrix: FloatArray) -> None:
    """Make a matrix of which only the lower triangle was written symmetric, in place."""
    for i in range(len(matrix)):
        for k in range(i):
            matrix[k, i] = matrix[i, k]

"""Those entries of a sparse symmetric matrix's inverse that stand where its factor has entries.

The whole inverse is dense; the diagonal of H G⁻¹ Hᵀ needs only these (Takahashi, Fagan and Chen 1973). On a radial
network their number grows linearly with the nodes.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array, csr_array, diags_array
from scipy.sparse.linalg import splu

from aggregator.grid.network import Floats

ENTRIES_MAX = 50_000_000
"""Of the factor: beyond this, a network is meshed so densely that memory would not do."""


class NoInverse(Exception):
    """The matrix is singular to working precision, or its factor is too large."""


class SparseInverse:
    """G⁻¹ of a symmetric positive definite matrix G, factored once."""

    def __init__(self, matrix: csr_array) -> None:
        """Scale the matrix to a diagonal of ones, and factor it.

        Raises:
            NoInverse: it has none that could be trusted.
        """
        diagonal = matrix.diagonal()
        if not (np.isfinite(diagonal).all() and (diagonal > 0).all()):
            raise NoInverse("a state that nothing tells")
        self._scale = 1 / np.sqrt(diagonal)
        scaled = csc_array(diags_array(self._scale) @ matrix @ diags_array(self._scale))
        try:
            self._factor = splu(
                scaled, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError as error:
            raise NoInverse("a singular matrix") from error
        if self._factor.L.nnz > ENTRIES_MAX or (self._factor.perm_r != self._factor.perm_c).any():
            raise NoInverse("a matrix that is no network's")
        if not (self._factor.U.diagonal() > 0).all():
            raise NoInverse("a matrix that is not positive definite")

    def solve(self, right: Floats) -> Floats:
        """G⁻¹ times a vector."""
        found: Floats = self._scale * self._factor.solve(self._scale * right)
        return found

    def quadratic_forms(self, rows: csr_array) -> Floats:
        """(r) the diagonal of H G⁻¹ Hᵀ, for rows H each of which is one of G's summands.

        Raises:
            NoInverse: the factor lacks entries that it should have.
        """
        scaled = csr_array(rows @ diags_array(self._scale))
        found: Floats = np.asarray((scaled @ self._entries()).multiply(scaled).sum(axis=1)).ravel()
        return found

    def _entries(self) -> csr_array:
        """Column by column from the last: Z = D⁻¹ L⁻¹ + (I − Lᵀ) Z, where L has entries."""
        lower, pivots = self._factor.L.tocsc(), self._factor.U.diagonal()
        lower.sort_indices()
        size = len(pivots)
        begin, index, value = lower.indptr, lower.indices, lower.data
        below = [index[begin[j] + 1 : begin[j + 1]] for j in range(size)]
        found: list[Floats] = [np.empty(0)] * size
        diagonal = np.zeros(size)
        for j in range(size - 1, -1, -1):
            rows, factor = below[j], value[begin[j] + 1 : begin[j + 1]]
            block = np.zeros((len(rows), len(rows)))
            for a, k in enumerate(rows.tolist()):
                block[a, a] = diagonal[k]
                if a + 1 < len(rows):
                    at = np.searchsorted(below[k], rows[a + 1 :])
                    if at[-1] >= len(below[k]) or (below[k][at] != rows[a + 1 :]).any():
                        raise NoInverse("a factor with entries left out")
                    block[a, a + 1 :] = block[a + 1 :, a] = found[k][at]
            found[j] = -block @ factor
            diagonal[j] = 1 / pivots[j] - float(factor @ found[j])
        column = np.repeat(np.arange(size), np.diff(begin) - 1)
        row, entry = np.concatenate([*below, np.empty(0, dtype=np.int64)]), np.concatenate([*found, np.empty(0)])
        whole = csr_array(
            (
                np.concatenate([entry, entry, diagonal]),
                (
                    np.concatenate([row, column, np.arange(size)]),
                    np.concatenate([column, row, np.arange(size)]),
                ),
            ),
            shape=(size, size),
        )
        order = self._factor.perm_c
        return csr_array(whole[order][:, order])

"""How inner loops are compiled: all of them in one way."""

import numba

# Kept on disk, for the next process. Division as NumPy has it: no checks.
compiled = numba.njit(cache=True, error_model="numpy")
# Becomes part of its caller: handing over arrays costs more than the work.
inlined = numba.njit(inline="always", error_model="numpy")

"""How processes that handle many large arrays use their memory."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP_BYTES, _SHARED_BYTES = 2**30, 2**28


def keep_freed_memory(shared: bool = False) -> None:
  """Lets this process use again what it freed, on glibc.

  Otherwise each decoded image is fresh pages from the kernel, and clearing
  those costs as much as decoding.

  Args:
    shared: what one thread freed, the others use too, up to 256 MB a piece.
      They wait for each other: for few, large arrays.
  """
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:
    mallopt(_M_MMAP_THRESHOLD, _SHARED_BYTES if shared else _KEEP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    if shared:
      mallopt(_M_ARENA_MAX, 1)

"""How processes that handle many large arrays use their memory."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Of glibc's malloc.h.
_KEEP_BYTES = 2**30


def keep_freed_memory() -> None:
  """Lets this process use again what it freed, on glibc.

  Otherwise each decoded image is fresh pages from the kernel, and clearing
  those costs as much as decoding.
  """
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:
    mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)

"""Sorts more names than fit into memory."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator

RUN_SIZE = 200_000  # Names held in memory: about 25 MB.


def sort_names(
  names: Iterable[str], *, run_size: int = RUN_SIZE
) -> Iterator[str]:
  """Sorts texts; more than `run_size` of them go through temporary files.

  All are taken before the first is given.

  Args:
    names: any texts, also with surrogates.
    run_size: how many to hold in memory, at least 1.

  Yields:
    The names, in order of their code points.
  """
  names = iter(names)
  run = sorted(itertools.islice(names, run_size))
  if len(run) < run_size:
    yield from run
    return
  with contextlib.ExitStack() as stack:
    runs = []
    while run:
      file = stack.enter_context(tempfile.TemporaryFile("w+"))
      file.writelines(json.dumps(name) + "\n" for name in run)
      file.seek(0)
      runs.append(map(json.loads, file))
      run = sorted(itertools.islice(names, run_size))
    yield from heapq.merge(*runs)

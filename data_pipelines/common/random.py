"""Random numbers that depend on what they are for, and on nothing else."""

from __future__ import annotations

import enum

import numpy as np


@enum.unique
class Purpose(enum.IntEnum):
  """What random numbers are drawn for, so that no two uses share a stream.

  A number is part of what a seed means: it is never changed nor used again.
  """

  CROPS = 1
  ORDER = 2
  TASK = 3
  PROBE = 4


def make_generator(
  purpose: Purpose, *, seed: int, index: int, epoch: int
) -> np.random.Generator:
  """Makes a generator whose numbers are the same on every machine.

  Args:
    purpose: second word of the Philox key.
    seed: first word of the key, 0 to 2**64 - 1.
    index: of what is drawn for, such as a record; third word of the counter.
    epoch: how often that was drawn for before; fourth word of the counter.
  """
  return np.random.Generator(
    np.random.Philox(
      key=np.array([seed, purpose], np.uint64),
      counter=np.array([0, 0, index, epoch], np.uint64),
    )
  )

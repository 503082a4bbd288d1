"""Which rows of a batch a process has, whatever the mesh."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.runtime import gathering
from sapiens2_jax.runtime.gathering import Part
from sapiens2_jax.training import rows, step


@dataclasses.dataclass(frozen=True)
class Device:
  """Of a process that there is not; none of JAX's."""

  id: int
  process_index: int
  platform: str = "cpu"
  device_kind: str = "cpu"
  client: object = None


def make_mesh(*shape: int, devices_each: int) -> Mesh:
  numbers = range(int(np.prod(shape)))
  found = np.empty(len(numbers), object)
  found[:] = [Device(n, n // devices_each) for n in numbers]
  types = (AxisType.Auto,) * len(shape)
  return Mesh(found.reshape(shape), mesh_lib.AXES, axis_types=types)


@pytest.mark.parametrize(
  ("shape", "devices_each", "count", "speakers"),
  [
    ((2, 2, 1, 1), 2, 2, (0, 1)),
    ((1, 4, 1, 1), 1, 4, (0, 1, 2, 3)),
    ((1, 2, 1, 2), 2, 2, (0, 1)),
    # An axis of the model runs over processes: they have the same rows.
    ((1, 2, 1, 2), 1, 2, (0, 2)),
    ((1, 1, 2, 4), 2, 1, (0,)),
  ],
)
def test_a_part_is_what_the_devices_of_a_process_have(
  shape, devices_each, count, speakers
):
  mesh = make_mesh(*shape, devices_each=devices_each)
  assert rows.part_of(mesh) == Part(0, count, speakers)


def test_parts_that_overlap_are_refused():
  with pytest.raises(ValueError, match=r"fsdp=3.* 2 processes some share"):
    rows.part_of(make_mesh(1, 3, 1, 2, devices_each=4))


def test_shares_are_all_of_it_in_its_order():
  for length in (0, 3, 10):
    parts = [Part(n, 4, (0, 1, 2, 3)).share(length) for n in range(4)]
    assert [x for part in parts for x in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_rows_come_back_in_their_order():
  spread = step.jit_spread(lambda gain, x: {"y": gain * x}, np.float32(2), 3)
  given = np.random.default_rng(0).random((spread.batch_size, 5), np.float32)
  assert spread.batch_size == 3 * jax.device_count()
  found = spread.apply_fn(spread.params, given)
  np.testing.assert_array_equal(found["y"], 2 * given)


@pytest.mark.parametrize("size", [0, 1015, 1016, 5000, 3 << 20])
def test_whatever_processes_have_is_gathered(monkeypatch, size):
  """Process 1 of three, with the others' messages made here."""
  values = ["a" * size, {"x": np.arange(size // 3)}, None]
  sent = [
    len(text).to_bytes(8, "little") + text for text in map(pickle.dumps, values)
  ]
  places, sizes = [0], []

  def allgather(message):
    sizes.append(len(message))
    (start,) = places
    found = np.zeros((3, len(message)), np.uint8)
    for row, data in zip(found, sent):
      part = np.frombuffer(data[start : start + len(message)], np.uint8)
      row[: len(part)] = part
    np.testing.assert_array_equal(found[1], message)
    places[0] += len(message)
    return found

  class Client:
    def wait_at_barrier(self, *_):
      pass

  monkeypatch.setattr(jax, "process_count", lambda: 3)
  state = gathering.jax_distributed.global_state
  monkeypatch.setattr(state, "client", Client())
  monkeypatch.setattr(gathering.multihost_utils, "process_allgather", allgather)
  found = gathering.gather(values[1])
  assert found[0] == values[0] and found[2] is None
  np.testing.assert_array_equal(found[1]["x"], values[1]["x"])
  # Few sizes: each is a program. And bounded, whatever is sent.
  assert sizes[0] == 1024 and all(n & (n - 1) == 0 for n in sizes)
  assert 3 * max(sizes) <= 2**24
  assert sum(sizes) <= 2 * max(map(len, sent)) + 2048

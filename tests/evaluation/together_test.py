"""One, two and four processes, over loopback, measure the same."""

import json
import pathlib
import sys

import numpy as np
import pytest

from sapiens2_jax.evaluation import features as features_lib
from tests import tiny_task
from tests.end_to_end import commands
from tests.evaluation import labelled, together

pytestmark = pytest.mark.slow
NUM_DEVICES = 4  # Of all processes.


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """The images, and the numbers of this process."""
  root = tmp_path_factory.mktemp("together")
  train = [labelled.make_record(n) for n in range(6)]
  train.insert(2, tiny_task.make_record(3, is_labelled=False))
  tiny_task.write_corpus(root / "train", train)
  # Of four processes, one has nothing to measure.
  test = [labelled.make_record(n) for n in range(6, 9)]
  tiny_task.write_corpus(root / "test", test)
  return root, together.measure_all(root, root / "features")


def assert_close(found: dict, expected: dict, where: str = "") -> None:
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    if isinstance(value, dict):
      assert_close(found[name], value, f"{where}{name} ")
    else:
      np.testing.assert_allclose(
        found[name], value, rtol=1e-6, err_msg=where + name
      )


def read_features(directory: pathlib.Path) -> dict:
  """By the names of sets."""
  return {
    path.name: features_lib.load(path)
    for path in directory.iterdir()
    if not path.name.startswith(".")
  }


@pytest.mark.parametrize("count", [4])
def test_many_processes_measure_what_one_does(alone, count):
  root, expected = alone
  command = [sys.executable, "-m", "tests.evaluation.together", str(root)]
  processes = commands.start_many(
    command, root / f"log-{count}", count, NUM_DEVICES // count
  )
  try:
    codes = [process.wait(timeout=500) for process in processes]
  finally:
    for process in processes:
      process.kill()
  logs = [pathlib.Path(f"{root}/log-{count}.{i}") for i in range(count)]
  assert codes == [0] * count, "\n".join(log.read_text() for log in logs)
  # All but process 0 are silent.
  assert "features (" in logs[0].read_text()
  assert "features (" not in "".join(log.read_text() for log in logs[1:])
  for index in range(count):
    path = root / f"found-{count}-{index}.json"
    assert_close(json.loads(path.read_text()), expected)

  wanted = read_features(root / "features")
  found = read_features(root / f"features-{count}")
  assert found.keys() == wanted.keys() and len(found) == 5
  for name, one in found.items():
    assert len(list((root / f"features-{count}" / name).iterdir())) == count + 3
    assert one.rows == wanted[name].rows
    for field in ("first", "values", "mean", "std"):
      given, right = (
        np.asarray(getattr(x, field)) for x in (one, wanted[name])
      )
      np.testing.assert_allclose(given, right, rtol=1e-6, atol=1e-6)

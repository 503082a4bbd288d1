import numpy as np
import pytest

from sapiens2_jax.config import ConfigError
from sapiens2_jax.evaluation import online
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.tasks import registry
from tests import tiny, tiny_task
from tests.evaluation import labelled


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  root = tmp_path_factory.mktemp("online")
  found = [labelled.make_record(n) for n in range(6)]
  found.insert(3, tiny_task.make_record(3, is_labelled=False))
  return tiny_task.write_corpus(root / "corpus", found)


TASKS = registry.online_task_names()


def load_config(place, tasks=TASKS, size="tiny"):
  return tiny.load_config(
    *("probes.every=2", f"probes.path={place}", f"probes.tasks={tasks}"),
    f"model.size={size}",
  )


def mean_colors(batch):
  """An encoder: mean colour of each patch, of the image."""
  b, h, w, _ = batch.shape
  x = batch.reshape(b, h // 16, 16, w // 16, 16, 3).astype(np.float32)
  patches = x.mean(axis=(2, 4))
  return {"patches": patches, "cls": patches.mean(axis=(1, 2)) + 1}


def test_ridge_is_least_squares_with_a_small_weight():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(500, 6)) * [1, 10, 0.1, 5, 1, 2] + 3
  y = x @ rng.normal(size=(6, 2)) + 7
  ridge = online.Ridge(6, 2)
  for part in range(0, 500, 100):
    ridge.add(x[part : part + 100], y[part : part + 100])
  weights, bias = ridge.solve()
  z = (x - x.mean(0)) / x.std(0)
  gram = z.T @ z / 500 + online.RIDGE * np.eye(6)
  direct = np.linalg.solve(gram, z.T @ (y - y.mean(0)) / 500)
  expected = z @ direct + y.mean(0)
  np.testing.assert_allclose(x @ weights + bias, expected, rtol=1e-7)
  assert np.abs(expected - y).max() < 0.02 * np.abs(y - y.mean(0)).max()


def test_pooling_is_a_mean_over_the_mask():
  values = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)
  mask = np.zeros((4, 6), bool)
  mask[:2, :2], mask[2:, 2:4], mask[0, 4] = True, [[True, False]] * 2, True
  means, known = online.pool(values, mask, TokenGrid(2, 3, 2, 2))
  np.testing.assert_array_equal(
    known, [[True, False, False], [False, True, False]]
  )
  np.testing.assert_array_equal(means[0, 0], values[:2, :2].mean((0, 1)))
  np.testing.assert_array_equal(means[1, 1], values[2:, 2].mean(0))


def test_all_numbers_are_found_whatever_the_batch_size(place):
  dataset = online.load(load_config(place))
  # The image without labels stays, for retrieval alone.
  assert len(dataset.crops) == 14
  assert set(dataset.views) == {"letterbox", "squeeze"}
  assert not dataset.targets["normal"][2][3].any()
  done = []
  found = [
    online.measure(
      dataset, mean_colors, batch_size=size, on_progress=done.append
    )
    for size in (2, 16)
  ]
  known = map(registry.definition, TASKS)
  names = {task.probe.online.key for task in known}
  assert names < set(found[0]) and "recall_1" in found[0]
  assert np.isfinite(list(found[0].values())).all()
  for name, value in found[0].items():
    assert found[1][name] == pytest.approx(value, rel=1e-6), name
  assert max(done) == 7 + 7 + 14


@pytest.mark.parametrize("size", ["tiny", "tiny_4k"])
def test_features_that_hold_the_target_beat_others(place, size):
  dataset = online.load(load_config(place, ("albedo",), size))
  good = online.measure(dataset, mean_colors, batch_size=4)
  rng = np.random.default_rng(0)

  def noise(batch):
    found = mean_colors(batch)
    return {n: rng.normal(size=x.shape) for n, x in found.items()}

  bad = online.measure(dataset, noise, batch_size=4)
  assert good["albedo_mae"] < 0.8 * bad["albedo_mae"]


def test_without_tasks_retrieval_needs_no_labels(tmp_path):
  found = [tiny_task.make_record(n, is_labelled=False) for n in range(3)]
  place = tiny_task.write_corpus(tmp_path / "bare", found)
  dataset = online.load(load_config(place, ()))
  results = online.measure(dataset, mean_colors, batch_size=4)
  assert set(results) == {
    *("recall_1", "recall_5", "mrr"),
    *("chance_recall_1", "chance_recall_5", "chance_mrr"),
  }
  with pytest.raises(ValueError, match="normal: labels of 0 of 3 images"):
    online.load(load_config(place, ("normal",)))
  with pytest.raises(ValueError, match="1 usable images .* at least 2"):
    place = tiny_task.write_corpus(tmp_path / "one", found[:1])
    online.load(load_config(place, ()))


def test_mistakes_of_the_config_are_named():
  with pytest.raises(ConfigError, match=r"probes.every=2 +needs probes.path"):
    load_config("")
  with pytest.raises(ConfigError, match="unknown probes.tasks 'pose'"):
    load_config("corpus", ("pose",))
  with pytest.raises(ValueError, match="probes.path=/none: "):
    online.load(load_config("/none"))

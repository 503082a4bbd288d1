"""experiments/finetune.py: each task learns from labels at its smallest size.

Those of experiments/toy_tasks.py are run there.
"""

import jax
import numpy as np
import pytest

from data_pipelines.open_source import open_source
from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.training import data
from tests import tiny, tiny_task
from tests.evaluation import labelled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  found = [labelled.make_record(n) for n in range(4)]
  place = tmp_path_factory.mktemp("finetune") / "corpus"
  return open_source(tiny_task.write_corpus(place, found))


@pytest.mark.parametrize(
  ("task", "smaller"),
  [
    ("albedo", ()),
    ("matting", ()),
    ("pointmap", ("head.scale_channels=(16,)",)),
  ],
)
def test_a_task_takes_two_steps(source, task, smaller):
  class Run(tiny.Run):
    @staticmethod
    def load_config(*overrides: str, num_devices: int):
      return config_lib.load_config(
        f"experiments/finetune.py:task={task},size=toy",
        list(overrides),
        lambda config: validation.validate(config, num_devices),
      )

  run = Run(
    "model.size=tiny",
    "data.image_size=(64, 48)",
    "data.global_batch_size=4",
    "optim.warmup_steps=1",
    "optim.num_steps=2",
    *smaller,
  )
  before = jax.device_get(run.state.params)
  loader = data.make_prefetcher(
    run.objective, source, run.mesh, start_step=0, num_steps=2
  )
  for loaded in loader:
    run.state, metrics = run.step_fn(run.state, loaded.batch)
    assert np.isfinite(metrics["loss"]) and not loaded.skipped
  loader.close()
  assert int(run.state.step) == 2 and metrics["nonfinite_total"] == 0
  changed = jax.tree.map(
    lambda old, new: np.any(old != np.asarray(new)), before, run.state.params
  )
  assert all(jax.tree.leaves(changed["head"]))

"""What several processes measure together: run by `together_test`.

    python -m tests.evaluation.together ROOT

Writes what this process got to ROOT/found-COUNT-INDEX.json; the images are in
ROOT/train and ROOT/test.
"""

import functools
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.open_source import open_source
from sapiens2_jax import validation
from sapiens2_jax.evaluation import encoding, online, probing
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel.mesh import make_mesh, replicated
from sapiens2_jax.runtime import distributed, gathering
from sapiens2_jax.tasks import make_task
from sapiens2_jax.tasks.evaluate import evaluate
from sapiens2_jax.training import data
from sapiens2_jax.training.step import jit_spread
from tests import tiny, tiny_task
from tests.evaluation import labelled


def measure_task(path: str) -> dict:
  """A model without weights to speak of; wide images are two inputs."""
  task = make_task(tiny_task.load_config())

  def predict(gain, images):
    patches = images.reshape(-1, 4, 16, 3, 16, 3).astype(jnp.float32) / 255
    return {"alpha": gain * patches.mean(axis=(2, 4, 5))[..., None]}

  model = jit_spread(predict, np.float32(2), 1)
  return evaluate(
    task,
    model.apply_fn,
    model.params,
    open_source(path),
    batch_size=model.batch_size,
    part=model.apply_fn.part,
  )


def probe_online(path: str, backbone) -> dict:
  config = tiny.load_config(
    "probes.every=2",
    f"probes.path={path}",
    "probes.tasks=('normal','segmentation')",
    "probes.num_images=6",
  )
  model = encoding.spread(backbone.encoder, backbone.params, labelled.SIZE)
  dataset = online.load(config, model.apply_fn.part)
  encode = functools.partial(model.apply_fn, model.params)
  return online.measure(dataset, encode, batch_size=model.batch_size)


def load_batch(path: str) -> dict:
  """Records of a step whose rows pairs of devices share."""
  config = tiny.load_config(
    *("mesh.fsdp=-1", "mesh.tensor=2", "data.global_batch_size=8"),
    *(f"data.path={path}", "data.num_workers=0"),
    num_devices=jax.device_count(),
  )
  objective, mesh = build_objective(config), make_mesh(config.mesh)
  loader = data.make_prefetcher(
    objective, data.open_source(objective), mesh, start_step=0, num_steps=1
  )
  rows = next(iter(loader)).batch["index"]
  loader.close()
  whole = jax.jit(lambda x: x, out_shardings=replicated(mesh))(rows)
  return {"index": np.asarray(whole.addressable_data(0)).tolist()}


def measure_all(root: pathlib.Path, directory: pathlib.Path) -> dict:
  """All numbers; features are kept in `directory`."""
  backbone = labelled.make_backbone(0)
  places = [f"data.{name}={root / name}" for name in ("train", "test")]
  config = labelled.load_config("task=all", *places)
  with config.unlocked():
    config.tasks = ("normal", "segmentation", "retrieval")
  return {
    "batch": load_batch(str(root / "train")),
    "task": measure_task(str(root / "train")),
    "online": probe_online(str(root / "train"), backbone),
    **probing.run(config, backbone, directory),
  }


def main() -> None:
  root = pathlib.Path(sys.argv[1])
  distributed.start(validation.distributed_config([], "this test"))
  count, index = jax.process_count(), jax.process_index()
  found = measure_all(root, root / f"features-{count}")
  numbers = [5, "x" * 5000 * index, np.arange(3 * index)]
  for process, got in enumerate(gathering.gather(numbers)):
    assert got[1] == "x" * 5000 * process and len(got[2]) == 3 * process
  (root / f"found-{count}-{index}.json").write_text(json.dumps(found))
  distributed.finish()


if __name__ == "__main__":
  main()

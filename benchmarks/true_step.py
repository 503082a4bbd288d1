"""The step that train.py runs, on this machine, and what it costs."""

import os
import pathlib
import resource
import threading
import time

import jax
import jax.numpy as jnp

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling
from sapiens2_jax.training import optimizer, state, step

_MATMUL = 1024  # rows and columns
_GIB = 2**30


def load_config(spec: str, overrides: list[str]):
  """An experiment with overrides, for one device."""
  return config_lib.load_config(
    spec, overrides, lambda config: validation.validate(config, 1)
  )


class Step:
  """The compiled step of a config on one device, and all that it needs.

  Attributes:
    config, objective, mesh, tx, abstract: as train.py makes them.
    batch: shapes of what a step takes.
    compile_seconds: how long that took.
    account_gib: what the compiler says that a step holds, of state, batch and
      all between.
  """

  def __init__(self, config):
    self.config, self.objective = config, build_objective(config)
    self.mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    self.tx = optimizer.make_optimizer(config.optim)
    self.abstract = state.abstract_state(
      config, self.objective, self.tx, self.mesh
    )
    self.batch = compiling.abstract_batches(self.objective, self.mesh)
    begun = time.perf_counter()
    jitted = step.jit_train_step(
      self.objective, self.tx, config, self.mesh, self.abstract
    )
    self._run = jitted.lower(self.abstract, self.batch).compile()
    self.compile_seconds = time.perf_counter() - begun
    sizes = self._run.memory_analysis()
    self.account_gib = (
      sizes.argument_size_in_bytes
      + sizes.output_size_in_bytes
      - sizes.alias_size_in_bytes
      + sizes.temp_size_in_bytes
    ) / _GIB

  def take(self, current, batch):
    """One step; the new state, its metrics, seconds and core-seconds.

    The second are of all threads of this process: other jobs do not count.
    """
    begun, worked = time.perf_counter(), time.process_time()
    current, metrics = jax.block_until_ready(self._run(current, batch))
    seconds = time.perf_counter() - begun, time.process_time() - worked
    return current, {k: float(v) for k, v in metrics.items()}, *seconds


def matmul_flops(dtype: str) -> float:
  """FLOPs of a plain matrix product in a second of one core."""
  x = jnp.ones((_MATMUL, _MATMUL), dtype)
  product = jax.jit(jnp.matmul)
  product(x, x).block_until_ready()
  seconds = []
  for _ in range(5):
    begun = time.process_time()
    product(x, x).block_until_ready()
    seconds.append(time.process_time() - begun)
  return 2 * _MATMUL**3 / min(seconds)


def peak_gib() -> float:
  """The most that this process has held."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB


def machine_gib() -> float:
  """Memory of this machine."""
  pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  return pages / _GIB


def end_above(limit_gib: float) -> None:
  """Ends this process with code 1 soon after it takes more than that."""

  def watch() -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
      pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
      if pages * page > limit_gib * _GIB:
        print(f"more than {limit_gib:.1f} GiB: ends here", flush=True)
        os._exit(1)
      time.sleep(0.2)

  threading.Thread(target=watch, daemon=True).start()

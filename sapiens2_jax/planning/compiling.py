"""Compiles the real training step for a TPU slice that is not there."""

import dataclasses
import math
import multiprocessing
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from data_pipelines.loading.loader import batch_shapes
from sapiens2_jax.chips import CHIPS, Chip
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.training import optimizer
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.objective import Objective
from sapiens2_jax.training.step import jit_train_step

_USED = re.compile(
  r"Used ([\d.]+)([MG]) of [\d.]+[MG] hbm"
  r"|total memory required[^(]*\(([\d.]+)([MG])\)"
)
_UNITS = {"M": 2**20, "G": 2**30}
_REPORTED = re.compile(r"default \(color=0\)\nTotal bytes: (\d+)")


class TooLargeError(Exception):
  """The compiler found no way into the chip's memory.

  Attributes:
    used: bytes of HBM that the program needs.
  """

  def __init__(self, used: float):
    self.used = used
    super().__init__("The step does not fit into the chip's memory.")


@dataclasses.dataclass(frozen=True)
class CompiledStep:
  """A step as scheduled text, and what it was made of.

  State and batches are abstract, with shardings; the mesh is that of the
  topology.
  """

  text: str
  hbm_bytes: int
  has_cycles: bool  # those of the compiler, for each instruction
  state: state_lib.TrainState
  batches: dict[str, jax.ShapeDtypeStruct]
  mesh: Mesh


def parse_topology(topology: str) -> Chip:
  """The chip of e.g. "v5p:4x4x4".

  Raises:
    ValueError: no such chip, or no shape of its dimensions.
  """
  name, _, shape = topology.partition(":")
  if name not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", shape):
    raise ValueError(
      f"topology={topology}: expected a chip ({', '.join(CHIPS)}) and a shape, "
      "e.g. v5p:4x4x4 or v5e:8x8."
    )
  return CHIPS[name]


def topology_devices(topology: str, num_slices: int = 1) -> list:
  """Devices of slices that need not exist; needs libtpu, not a TPU.

  Raises:
    ValueError: the topology is none, or libtpu is not installed.
  """
  from jax.experimental import topologies

  chip = parse_topology(topology)
  # Keep libtpu from asking a metadata server which machine this is.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  # There is no TPU to lock, so that several plans may be made at once.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  options = {"num_slices": num_slices} if num_slices > 1 else {}
  if chip.name == "v4":  # One device a chip, as on a TPU VM.
    options["chip_config_name"] = "megacore"
  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name=topology, **options
    )
  except Exception as error:
    raise ValueError(f"topology={topology}: {error}") from error
  return list(found.devices)


def abstract_batches(
  objective: Objective, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """What the loader hands to the step, as shapes."""
  data = objective.config.data
  count = data.accumulation_steps
  size = data.global_batch_size // count
  shapes = batch_shapes(objective.example_maker())
  sharding = mesh_lib.batch_sharding(mesh)
  return {
    name: jax.ShapeDtypeStruct((count, size, *shape), dtype, sharding=sharding)
    for name, (shape, dtype) in shapes.items()
  }


def compile_step(
  config: ConfigDict, topology: str, num_slices: int, is_fast: bool = False
) -> CompiledStep:
  """Compiles what train.py runs, with its shardings, from shapes alone.

  Args:
    config: of the run.
    topology: e.g. "v5p:4x4x4".
    num_slices: joined by the data-centre network.
    is_fast: as `schedule`.

  Raises:
    ValueError: the mesh does not fit the devices or the model.
    TooLargeError: the step does not fit into memory.
  """
  mesh = mesh_lib.make_mesh(config.mesh, topology_devices(topology, num_slices))
  step, state, batches = make_step(config, mesh)
  if is_fast:
    text, hbm_bytes = schedule(_lower_step, config, topology, num_slices)
  else:
    executable, text = compile_with_text(step.lower(state, batches))
    stats = executable.memory_analysis()
    hbm_bytes = (
      stats.argument_size_in_bytes
      + stats.output_size_in_bytes
      - stats.alias_size_in_bytes
      + stats.temp_size_in_bytes
      + stats.generated_code_size_in_bytes
    )
  return CompiledStep(text, hbm_bytes, not is_fast, state, batches, mesh)


def make_step(config: ConfigDict, mesh: Mesh | AbstractMesh) -> tuple:
  """The jitted step of a run on a mesh, and its abstract state and batches."""
  objective = build_objective(config)
  tx = optimizer.make_optimizer(config.optim)
  state = state_lib.abstract_state(config, objective, tx, mesh)
  batches = abstract_batches(objective, mesh)
  step = jit_train_step(objective, tx, config, mesh, state)
  return step, state, batches


def _lower_step(
  config: ConfigDict, topology: str, num_slices: int
) -> jax.stages.Lowered:
  mesh = mesh_lib.make_mesh(config.mesh, topology_devices(topology, num_slices))
  step, state, batches = make_step(config, mesh)
  return step.lower(state, batches)


def schedule(
  lower: Callable[..., jax.stages.Lowered],
  *arguments,
  flags: Mapping[str, bool | int | str] = {},
) -> tuple[str, int]:
  """A program as scheduled, and its bytes of HBM, in a fraction of the time.

  Compiles `lower(*arguments)` in a process of its own, and ends that where the
  compiler would make code. So the text has no cycles, and HBM no code.

  Raises:
    TooLargeError: the program does not fit into memory.
    RuntimeError: the compiler failed; its error stands on stderr.
  """
  spawn = multiprocessing.get_context("spawn")
  used = spawn.SimpleQueue()
  with tempfile.TemporaryDirectory() as folder:
    child = spawn.Process(
      target=_compile_into, args=(folder, flags, used, lower, arguments)
    )
    child.start()
    try:
      text, has_ended = "", False
      while not has_ended:
        child.join(1)
        has_ended = child.exitcode is not None
        for path in pathlib.Path(folder).glob("*after_buffer_assignment.txt"):
          before, text = text, path.read_text()
          if text and (has_ended or text == before):  # Written to its end.
            (report,) = pathlib.Path(folder).glob("*memory-usage-report.txt")
            return text, int(_REPORTED.search(report.read_text())[1])
      if not used.empty():
        raise TooLargeError(used.get())
      raise RuntimeError(f"The compiler ended with {child.exitcode}.")
    finally:
      child.kill()
      child.join()


def _compile_into(folder: str, flags, used, lower, arguments) -> None:
  jax.config.update("jax_platforms", "cpu")  # A TPU here is not to be used.
  try:
    lower(*arguments).compile(compiler_options=_dump_options(folder, flags))
  except jax.errors.JaxRuntimeError as error:
    used.put(_used_bytes(error))


def _dump_options(folder: str, flags) -> dict[str, bool | int | str]:
  return {"xla_dump_to": folder, "xla_dump_hlo_as_text": True, **flags}


def _used_bytes(error: jax.errors.JaxRuntimeError) -> float:
  """What a program needs that does not fit; raises other errors again."""
  used = _USED.search(str(error))
  if not used:
    raise error
  number, unit = filter(None, used.groups())
  return float(number) * _UNITS[unit]


def compile_with_text(
  lowered: jax.stages.Lowered, flags: Mapping[str, bool | int | str] = {}
) -> tuple[Any, str]:
  """The executable, and its text as the TPU compiler writes it to a file.

  `executable.as_text()` cannot read back programs in which collectives run
  beside several products (an async-update with more than one operand).

  Args:
    lowered: the program.
    flags: of the compiler, beside its own.

  Raises:
    TooLargeError: the program does not fit into memory.
  """
  with tempfile.TemporaryDirectory() as folder:
    options = _dump_options(folder, flags)
    try:
      executable = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
      raise TooLargeError(_used_bytes(error)) from error
    (path,) = pathlib.Path(folder).glob("*after_codegen.txt")
    return executable, path.read_text()


def device_bytes(tree) -> int:
  """Bytes that one device holds of a tree with shardings."""
  return sum(
    x.dtype.itemsize * math.prod(x.sharding.shard_shape(x.shape))
    for x in jax.tree.leaves(tree)
  )

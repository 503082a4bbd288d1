"""Made-up configs, and what must hold of one that is accepted.

The properties below know nothing of the schema's ranges and rules.
"""

import ast
import functools
import json
import math
import pathlib
import random
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from data_pipelines.curation import scorers
from sapiens2_jax import config as config_lib
from sapiens2_jax import fields, validation
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.pretrain.crops import crop_config
from sapiens2_jax.training import optimizer

TASKS = ("albedo", "matting", "normal", "pointmap", "pose", "segmentation")
BASES = (
  *(("pretrain", f"pretrain.py:size={size}") for size in ("toy", "0.4b")),
  *(("finetune", f"finetune.py:task={task},size=toy") for task in TASKS),
  ("finetune", "finetune.py:task=pose,size=1b_4k"),
  ("probe", "probe.py:task=all"),
  ("curation", "curation.py:size=full"),
)
NUMBERS = (
  *("nan", "inf", "-inf", "1e400", "-1", "0", "1", "2", "3", "7", "0.3"),
  *("1.5", "1e-30", "1e30", "99999999999999999999", "9" * 5000, "-0.0", "64"),
  *("1j", "1_000", "0x10", "5e-324", "2048", "16", "0.999", "300.0"),
)
TEXTS = (
  *NUMBERS,
  *("", " ", "nonsense", "True", "false", "None", "toy", "0.8b", "float16"),
  *("()", "(64, 48", "((64, 48), (32, 24))", "(64, 'a')", "(nan, 1)", "[64]"),
  *("(0.5,)", "(0.2, 0.9)", "(0.9, 0.2)", "(128, 96)", "(1024, 768)", "{1: 2"),
  *("(1e9, 1e9)", "(64.0, 48.0)", "(16,)", "(16, 0)", "(1, 2, 3)", "[[[]]]"),
  *("(" * 300, "-" * 20_000 + "1", "'", "\x00", "\ufeff1", "b'x'", "...", "é"),
  *("lambda: 0", "fsdp+tensor", "data+data", "+", "~/x", "a;b", "normal"),
  *("('normal',)", "('normal', 1)", "('normal', 'normal')", "host:port"),
  *("10.0.0.1:1234", "host:99999", "(True, False)", "{'a': 1}", "[None]"),
)
OBJECTS = (
  *(math.nan, math.inf, -math.inf, True, False, None, 1, 0, -1, 2.0, 300.0),
  *((), [], [[64, 48]], {}, {"a": 1}, {1: 2}, {"a": {"b": 3}}, set(), b"x"),
  *(object(), int, lambda: 0, ..., 1j, 10**400, "x", (math.nan,) * 2),
  *(np.float32(0.5), np.int64(3), np.array([1, 2]), np.float64("nan")),
  *([64.0, 48.0], (True, True), ("a", 1), (None, None), [128, 96], "\udcff"),
)
_EXPERIMENT = pathlib.Path(__file__).with_name("made_experiment.py")


def _near(rng: random.Random, value) -> str:
  """A value of the same type, nearer to what makes sense."""
  if isinstance(value, tuple):
    items = [ast.literal_eval(_near(rng, x)) for x in value if _is_number(x)]
    return repr(tuple(items))
  if not _is_number(value):
    return rng.choice(TEXTS)
  factor = rng.choice((-1, 0, 0.1, 0.5, 1.01, 2, 4, 10, 1000, 10**9))
  shifted = rng.choice((value * factor, value + 1, value - 1))
  return repr(type(value)(shifted))


def _is_number(value) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


@functools.cache
def make(seed: int) -> tuple[str, str, int, list[str], dict]:
  """A kind, experiment, number of devices, overrides, values of the file."""
  rng = random.Random(seed)
  kind, base = rng.choice(BASES)
  values = dict(fields.leaves(_load(base)))
  names, overrides, given = list(values), [], {}
  for _ in range(rng.randint(1, 4)):
    name = rng.choice(names)
    way = rng.random()
    if way < 0.5:
      overrides.append(f"{name}={_near(rng, values[name])}")
    elif way < 0.75:
      overrides.append(f"{name}={rng.choice(TEXTS)}")
    elif way < 0.95:
      given[name] = rng.choice(OBJECTS)
    else:
      group = name.rpartition(".")[0]
      name = rng.choice((name[:-1], group, "", ".", name + ".", name + ".a"))
      overrides.append(name + rng.choice(("=1", "", "==", "=")))
  return kind, base, rng.choice((1, 1, 8)), overrides, given


@functools.cache
def _loaded(base: str) -> ConfigDict:
  path, _, argument = base.partition(":")
  return config_lib.load_module(f"experiments/{path}").get_config(argument)


def _load(base: str) -> ConfigDict:
  return _loaded(base).copy_and_resolve_references()


def get_config(argument: str) -> ConfigDict:
  """What the experiment file is for: its argument is the seed."""
  _, base, _, _, given = make(int(argument))
  config = _load(base)
  for name, value in given.items():
    fields.set_value(config, name, value)
  return config


def load(seed: int) -> ConfigDict:
  """What a command gets of the config of a seed."""
  kind, _, num_devices, overrides, _ = make(seed)
  kind = {"pretrain": None, "finetune": None}.get(kind, kind)
  return config_lib.load_config(
    f"{_EXPERIMENT}:{seed}",
    overrides,
    lambda config: validation.validate(config, num_devices, kind),
  )


def nonsense(config: ConfigDict, seed: int) -> Iterator[str]:
  """What makes no sense in a config that was accepted."""
  kind, base, num_devices, _, _ = make(seed)
  values = dict(fields.leaves(config))
  for name, wanted in fields.leaves(_load(base)):
    value = values.pop(name, None)
    if type(value) is not type(wanted):
      yield f"{name}={value!r} is no {type(wanted).__name__}"
    items = value if isinstance(value, tuple) else (value,)
    kinds = {type(x) for x in wanted} if isinstance(value, tuple) else set()
    for item in items:
      if kinds and type(item) not in kinds or isinstance(item, list | tuple):
        yield f"{name}={value!r} holds other things than {wanted!r}"
      elif isinstance(item, float) and not math.isfinite(item):
        yield f"{name}={value!r} is not finite"
      elif _is_number(item) and name != "seed" and abs(item) > 2**31:
        yield f"{name}={value!r} is too large for a counter"
      elif isinstance(item, str) and any(ord(x) < 32 for x in item):
        yield f"{name}={value!r} holds control characters"
    if name.endswith(".dtype") and value not in _DTYPES:
      yield f"{name}={value!r} is no dtype"
  if values:
    yield f"fields of nobody: {sorted(values)}"
  if json.loads(config_lib.to_json(config)) != json.loads(
    config_lib.to_json(config_lib.from_json(config_lib.to_json(config)))
  ):
    yield "JSON changes it"
  checks = {"pretrain": _pretrain, "finetune": _finetune, "probe": _probe}
  for claim, holds in checks.get(kind, _curation)(config, num_devices):
    if not holds:
      yield f"not so: {claim}"


Claims = Iterator[tuple[str, bool]]
_DTYPES = ("float16", "float32", "bfloat16")


def _learns(optim: ConfigDict) -> Claims:
  yield "peak_lr is reached", 0 <= optim.warmup_steps < optim.num_steps
  yield "steps are no leaps", 0 <= optim.peak_lr <= 1e3
  yield "weights keep their sign", optim.peak_lr * optim.weight_decay < 1
  yield "gradients are clipped to something", 1e-9 < optim.clip_norm < 1e9


def _trains(config: ConfigDict, num_devices: int) -> Claims:
  optim, data, mesh = config.optim, config.data, config.mesh
  yield from _learns(optim)
  yield "the rate falls", 0 <= optim.final_lr <= (optim.peak_lr or 1e3)
  yield "moments move", 0 <= optim.b1 < 1 and 0 <= optim.b2 < 1
  yield "eps is small, but a float32", 1e-37 < optim.eps < 1
  yield "first layers learn", 1e-3 <= optim.layer_decay <= 1
  parts = [x for x in mesh.values() if x != -1]
  rest = num_devices // math.prod(parts)
  axes = {name: rest if x == -1 else x for name, x in mesh.items()}
  yield "the mesh has all devices", math.prod(axes.values()) == num_devices
  rows = data.global_batch_size // data.accumulation_steps
  yield (
    "batches are whole",
    rows * data.accumulation_steps == (data.global_batch_size),
  )
  yield "each device has images", rows % (axes["data"] * axes["fsdp"]) == 0
  yield (
    "images fit into memory",
    16 <= min(data.image_size) and (max(data.image_size) <= 2**15),
  )
  yield "processes can be started", data.num_workers <= 4096
  yield "batches wait in memory", max(data.prefetch, data.device_prefetch) < 1e4
  yield (
    "a wait ends before the run",
    data.batch_timeout < (config.watchdog.timeout),
  )
  waits = (*config.watchdog.values(), data.read_timeout)
  waits += (config.distributed.heartbeat_timeout, data.batch_timeout)
  yield "waits last, and end", all(1e-3 <= x <= 1e8 for x in waits)
  yield "JAX counts whole seconds", 1 <= config.distributed.start_timeout <= 1e8
  yield "failures happen", 1e-3 <= config.checkpoint.mtbf_hours <= 1e6
  local = config.checkpoint
  yield (
    "local saves have a place",
    not local.local_every or (bool(local.local_directory) and axes["data"] > 1),
  )
  count, index = config.distributed.num_processes, config.distributed.process_id
  yield "this process is one of them", -1 in (count, index) or index < count
  address = config.distributed.coordinator_address
  yield (
    "the address is one",
    not address
    or (
      address.rpartition(":")[2].isdigit()
      and 0 < int(address.rpartition(":")[2]) < 2**16
    ),
  )
  yield "blocks add something", 0 <= config.model.layer_scale_init <= 1e3
  for name in ("probes", "evaluation"):
    group = config.get(name)
    if group is not None and group.every:
      yield f"{name} have images", bool(group.path)
  build_objective(config)
  optimizer.make_optimizer(optim)


def _pretrain(config: ConfigDict, num_devices: int) -> Claims:
  yield from _trains(config, num_devices)
  data, objective, masking = config.data, config.objective, config.masking
  weights = {k: x for k, x in objective.items() if k.startswith("w_")}
  yield "weights weigh", all(0 <= x <= 1e6 for x in weights.values())
  yield "something is learned", any(weights.values())
  side = 64 if config.model.size.endswith("_4k") else 16
  sizes = [data.image_size, data.local_size]
  yield "patches are whole", not any(x % side for size in sizes for x in size)
  tokens, local = ((x // side) * (y // side) for x, y in sizes)
  visible = tokens - round(tokens * masking.mask_ratio)
  yield "sequences have one length", 0 < visible == local < tokens
  yield (
    "squares fit",
    masking.mode != "grid"
    or masking.block_size < max(size // side for size in data.image_size),
  )
  yield "views are few", data.num_global <= 100 and 0 < data.num_local <= 100
  for low, high in (data.global_area, data.local_area):
    yield "crops show something", 1e-4 < low <= high <= 1
  temps = ("student_temp", "teacher_temp", "teacher_temp_start")
  yield "softmaxes stay finite", all(1e-4 <= objective[x] < 1e4 for x in temps)
  yield "the teacher moves", 0 <= objective.teacher_momentum < 1
  yield "the center moves", 0 <= objective.center_momentum < 1
  augment = config.augment
  factors = augment.brightness, augment.contrast, augment.saturation
  yield "pixels stay positive", all(0 <= x <= 1 for x in factors)
  yield "a turn is one", 0 <= augment.hue <= 1
  yield "blurs leave something", 0 < augment.blur_sigma[1] < 1e3
  rows = data.global_batch_size // data.accumulation_steps
  yield (
    "neighbours are there",
    not weights["w_koleo"] or (rows % objective.koleo_group_size == 0),
  )
  yield (
    "heads divide",
    config.model.decoder_dim % (4 * config.model.decoder_heads) == 0,
  )
  yield (
    "Gram anchoring begins",
    not weights["w_gram"]
    or (objective.gram_start_step < config.optim.num_steps),
  )
  yield (
    "a frozen teacher has weights",
    not weights["w_distill"] or bool(objective.distill_from),
  )
  widths = ("decoder_dim", "prototypes", "head_hidden_dim", "bottleneck_dim")
  yield "layers fit", all(config.model[x] <= 2**24 for x in widths)
  yield (
    "tasks are different",
    len(set(config.probes.tasks)) == len(config.probes.tasks),
  )
  crop_config(config)


def _finetune(config: ConfigDict, num_devices: int) -> Claims:
  yield from _trains(config, num_devices)
  yield "the task is one", config.task.name in TASKS
  for name, widths in config.head.items():
    yield f"{name} fit", all(0 < x <= 2**16 for x in widths)
    yield f"{name} are few", len(widths) <= 32


def _probe(config: ConfigDict, _: int) -> Claims:
  yield from _learns(config.optim)
  known = {*TASKS, "retrieval"} - {"matting"}
  yield "there are tasks", bool(config.tasks) and {*config.tasks} <= known
  yield "once each", len({*config.tasks}) == len(config.tasks)
  yield "batches fit", config.optim.batch_size <= 2**20
  yield "patches are whole", not any(x % 16 for x in config.data.image_size)


def _curation(config: ConfigDict, _: int) -> Claims:
  names = (*config.scorers.first, *config.scorers.later)
  yield "scorers are known", {*names} <= {*scorers.SCORERS}
  yield "once each", len({*names}) == len(names)
  yield (
    "limits leave room",
    all(
      config[name][key] <= config[name].get(key.replace("min_", "max_"), 1e9)
      for name in scorers.SCORERS
      for key in config.get(name, {})
      if key.startswith("min_")
    ),
  )
  clusters = (*config.sampling.clusters, 0)
  yield (
    "clusters fall",
    clusters[:1] > (0,)
    and (all(a > b for a, b in zip(clusters, clusters[1:]))),
  )
  group = config.embedding
  yield "images are some", len(group.image_size) == 2 <= min(group.image_size)
  yield "channels are three", len(group.mean) == len(group.std) == 3
  yield "deviations divide", min(group.std) > 0
  needing = (config.sampling.target, config.sampling.cap)
  needing += (config.duplicates.min_similarity,)
  yield "embeddings are made", bool(group.model) or not any(needing)
  yield "bits are of 256", -1 <= config.duplicates.max_distance <= 256
  yield (
    "levels are of 255",
    (
      0 <= config.quality.min_brightness
      and config.quality.max_brightness <= 255
    ),
  )
  yield "angles are", -180 <= config.face.min_yaw <= config.face.max_yaw <= 180

"""Rules that span fields; each names what it reads.

A rule is asked only where each single field that it reads is right.
"""

from collections.abc import Callable, Iterator, Mapping

from ml_collections import ConfigDict

from data_pipelines.curation import scorers
from sapiens2_jax import tasks
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.grid import pixels_per_token, token_grid
from sapiens2_jax.parallel import mesh, rules
from sapiens2_jax.pretrain import masks, stages
from sapiens2_jax.pretrain.terms import TERMS
from sapiens2_jax.tasks.base import ProbedTask
from sapiens2_jax.training.best import read_goal

Found = Iterator[tuple[str, str]]
# (config, number of devices) -> problems, and the fields or groups it reads.
Rules = Mapping[Callable[[ConfigDict, int], Found], tuple[str, ...]]
# With it an update is 1.5 times what it should be, at most (b1=0.9).
_LARGEST_HELD_B2 = 0.98


def _whole_batches(config: ConfigDict, num_devices: int) -> Found:
  data, shards = config.data, 1
  try:
    shape = mesh.mesh_shape(config.mesh, num_devices)
    shards = shape[0] * shape[1]
  except ValueError as error:
    yield "mesh", str(error)
  given = f"data.global_batch_size={data.global_batch_size}"
  micro, rest = divmod(data.global_batch_size, data.accumulation_steps)
  if rest:
    yield given, f"not divided by accumulation_steps={data.accumulation_steps}"
  if micro % shards:
    wrong = f"is not divided by data * fsdp = {shards}"
    yield given, f"a microbatch of {micro} {wrong}"


def _local_directory(config: ConfigDict, _: int) -> Found:
  every = config.checkpoint.local_every
  given = f"checkpoint.local_every={every}"
  if every and not config.checkpoint.local_directory:
    yield given, "needs checkpoint.local_directory, on a disk of each host"
  if every and config.mesh.data == 1:
    yield given, "needs mesh.data of at least 2, each a whole copy"


def _timeouts(config: ConfigDict, _: int) -> Found:
  timeout, batch_timeout = config.watchdog.timeout, config.data.batch_timeout
  if timeout <= batch_timeout:
    yield (
      f"watchdog.timeout={timeout}",
      f"must be above data.batch_timeout={batch_timeout}, or a process that "
      "waits for another one's data ends first",
    )


def _warmup(config: ConfigDict, _: int) -> Found:
  warmup_steps, num_steps = config.optim.warmup_steps, config.optim.num_steps
  if warmup_steps and warmup_steps >= num_steps:
    yield (
      f"optim.warmup_steps={warmup_steps}",
      f"must be below optim.num_steps={num_steps}, or the run ends before "
      "peak_lr is reached",
    )


def _rates(config: ConfigDict, _: int) -> Found:
  optim = config.optim
  # A peak of 0 leaves weights as they are, which some compare with.
  if optim.get("final_lr", 0) > optim.peak_lr > 0:
    wrong = f"must be at most optim.peak_lr={optim.peak_lr}, the largest rate"
    yield f"optim.final_lr={optim.final_lr}", wrong
  if optim.weight_decay * optim.peak_lr >= 1:
    yield (
      f"optim.weight_decay={optim.weight_decay}",
      f"times optim.peak_lr={optim.peak_lr} must be below 1, or a step turns "
      "the sign of all weights",
    )


def _held_encoder(config: ConfigDict, _: int) -> Found:
  optim = config.optim
  given = f"optim.freeze_encoder_steps={optim.freeze_encoder_steps}"
  if optim.freeze_encoder_steps >= optim.num_steps:
    yield given, f"must be below optim.num_steps={optim.num_steps}"
  if optim.freeze_encoder_steps and optim.b2 > _LARGEST_HELD_B2:
    yield (
      given,
      f"needs optim.b2 of at most {_LARGEST_HELD_B2}, found {optim.b2}: the "
      "moments of the encoder begin under an old count of steps, and its first "
      "updates would be too large",
    )


def _profile_steps(config: ConfigDict, _: int) -> Found:
  steps, num_steps = config.logging.profile_steps, config.optim.num_steps
  if steps and steps[1] > num_steps:
    wrong = f"must end within the run, optim.num_steps={num_steps}"
    yield f"logging.profile_steps={steps}", wrong


def _processes(config: ConfigDict, _: int) -> Found:
  count, index = config.distributed.num_processes, config.distributed.process_id
  if -1 not in (count, index) and index >= count:
    given = f"distributed.process_id={index}"
    yield given, f"expected 0 to num_processes - 1 = {count - 1}"


def _tensor_axis(tensor: int, heads: set[int]) -> Found:
  for number in sorted(heads):
    if tensor > 1 and number % tensor:
      yield f"mesh.tensor={tensor}", f"does not divide {number} heads"


def _heads(config: ConfigDict, _: int) -> Found:
  heads = get_architecture(config.model.size).num_kv_heads
  return _tensor_axis(config.mesh.tensor, set(heads))


def _sharding(config: ConfigDict, _: int) -> Found:
  try:
    rules.read_rules(config.sharding, config.mesh)
  except ValueError as error:
    yield "sharding", str(error)


def _whole_patches(*names: str, size: str = "") -> Callable:
  """A rule: sizes of images, by their names in `data`, are whole patches.

  Args:
    *names: of these fields.
    size: of the encoder; of the config if it is "".
  """

  def rule(config: ConfigDict, _: int) -> Found:
    step = pixels_per_token(get_architecture(size or config.model.size))
    for name in names:
      if any(side % step for side in config.data[name]):
        given = f"data.{name}={config.data[name]}"
        yield given, f"must be multiples of {step}"

  return rule


def _equal_lengths(config: ConfigDict, _: int) -> Found:
  """The six student sequences must have one length."""
  data, ratio = config.data, config.masking.mask_ratio
  arch = get_architecture(config.model.size)
  step = pixels_per_token(arch)
  if any(side % step for side in data.image_size + data.local_size):
    return
  num_global, num_local = (
    token_grid(arch, size).num_tokens
    for size in (data.image_size, data.local_size)
  )
  try:
    visible = num_global - masks.num_masked(num_global, ratio)
  except ValueError as error:
    yield f"masking.mask_ratio={ratio}", str(error)
    return
  if visible != num_local:
    yield (
      f"data.local_size={data.local_size}",
      f"gives {num_local} patches, but a masked global view has {visible} "
      "visible ones; the student needs equal lengths",
    )


def _mask_blocks(config: ConfigDict, _: int) -> Found:
  masking, size = config.masking, config.data.image_size
  step = pixels_per_token(get_architecture(config.model.size))
  if masking.mode == "grid" and masking.block_size * step >= max(size):
    wrong = f"such a square of patches covers all of data.image_size={size}"
    yield f"masking.block_size={masking.block_size}", wrong


def _stages(config: ConfigDict, num_devices: int) -> Found:
  """Each stage must be as right as the last one."""
  given = f"data.stages={config.data.stages}"
  try:
    *earlier, _ = stages.split(config)
  except ValueError as error:
    yield given, str(error)
    return
  for stage in earlier:
    for rule in _SIZED:
      for found, wrong in rule(stage.config, num_devices):
        yield given, f"{found} {wrong}"


def _gram_start(config: ConfigDict, _: int) -> Found:
  objective, num_steps = config.objective, config.optim.num_steps
  if objective.w_gram and objective.gram_start_step >= num_steps:
    yield (
      f"objective.gram_start_step={objective.gram_start_step}",
      f"must be below optim.num_steps={num_steps}, or objective.w_gram does "
      "nothing",
    )


def _koleo_groups(config: ConfigDict, _: int) -> Found:
  size = config.objective.koleo_group_size
  micro = config.data.global_batch_size // config.data.accumulation_steps
  if config.objective.w_koleo and micro % size:
    wrong = f"does not divide a microbatch of {micro}"
    yield f"objective.koleo_group_size={size}", wrong


def _some_term(config: ConfigDict, _: int) -> Found:
  if not any(config.objective[f"w_{name}"] for name in TERMS):
    yield "objective", "all weights are 0; nothing would be learned"


def _frozen_teacher(config: ConfigDict, _: int) -> Found:
  """Its tokens must be those of the student."""
  objective = config.objective
  if not objective.w_distill:
    return
  if not objective.distill_from:
    wrong = "needs objective.distill_from, the weights of the teacher"
    yield f"objective.w_distill={objective.w_distill}", wrong
  names = objective.distill_size, config.model.size
  teacher, student = map(get_architecture, names)
  found, expected = map(pixels_per_token, (teacher, student))
  if found != expected:
    yield (
      f"objective.distill_size={teacher.name}",
      f"has a token for {found} x {found} pixels, model.size={student.name} "
      f"for {expected} x {expected}; teacher and student need the same grid",
    )
  yield from _tensor_axis(config.mesh.tensor, set(teacher.num_kv_heads))


def _decoder_heads(config: ConfigDict, _: int) -> Found:
  width, heads = config.model.decoder_dim, config.model.decoder_heads
  if width % (4 * heads):
    wrong = f"decoder_dim={width} must be a multiple of 4 a head"
    yield f"model.decoder_heads={heads}", wrong
  yield from _tensor_axis(config.mesh.tensor, {heads})


def _measured_path(name: str) -> Callable:
  """A rule: who measures while training needs images."""

  def rule(config: ConfigDict, _: int) -> Found:
    if config[name].every and not config[name].path:
      yield f"{name}.every={config[name].every}", f"needs {name}.path"

  return rule


def _keep_best(name: str, prefix: str) -> Callable:
  """A rule: what is kept must be measured, in the group `name`."""

  def rule(config: ConfigDict, _: int) -> Found:
    goal = read_goal(config.checkpoint.keep_best)
    given = f"checkpoint.keep_best={config.checkpoint.keep_best}"
    if goal and not config[name].every:
      yield given, f"needs {name}.every"
    if goal and not goal.name.startswith(f"{prefix}_"):
      yield given, f"must be a number that is measured: {prefix}_..."

  return rule


def _measured(config: ConfigDict, task: tasks.Task) -> Found:
  """Asks an empty metric for its numbers, before anything is trained."""
  goal = read_goal(config.checkpoint.keep_best)
  if goal is None:
    return
  try:
    numbers = task.metric().result()
  except ArithmeticError:  # Of nothing: the first evaluation says it.
    return
  names = [f"eval_{key}" for key in numbers]
  if goal.name not in names:
    given = f"checkpoint.keep_best={config.checkpoint.keep_best}"
    yield given, f"{task.name} measures {', '.join(names)}"


def _task(config: ConfigDict, _: int) -> Found:
  """The task's own complaints, and those of its head."""
  given = f"task.name={config.task.name}"
  try:
    task = tasks.make_task(config)
    task.head()
  except ValueError as error:
    yield given, str(error)
    return
  yield from _measured(config, task)
  if not (config.data.augment or isinstance(task, ProbedTask)):
    yield given, "has no targets without augmentation; set data.augment=true"


def _init_head(config: ConfigDict, _: int) -> Found:
  model = config.model
  if model.init_head and not model.init_from:
    yield "model.init_head=True", "needs model.init_from"
  elif model.init_head and model.init_parts == "encoder":
    wrong = f"model.init_parts={model.init_parts} takes no head; set it to all"
    yield "model.init_head=True", wrong


def _frozen_stages(config: ConfigDict, _: int) -> Found:
  count = config.optim.frozen_stages
  num_layers = get_architecture(config.model.size).num_layers
  if count > num_layers:
    yield (
      f"optim.frozen_stages={count}",
      f"model.size={config.model.size} has {num_layers} blocks",
    )
  if count and not config.model.init_from:
    wrong = "freezes random weights; it needs model.init_from"
    yield f"optim.frozen_stages={count}", wrong


def _lora(config: ConfigDict, _: int) -> Found:
  rank, frozen = config.model.lora_rank, config.optim.frozen_stages
  given = f"model.lora_rank={rank}"
  if rank and not config.model.init_from:
    yield given, "freezes the encoder, and needs model.init_from"
  if rank and frozen:
    yield given, f"freezes all blocks; set optim.frozen_stages={frozen} to 0"


def _some_task(config: ConfigDict, _: int) -> Found:
  if not config.tasks:
    yield "tasks=()", "names nothing to probe"


def _limits(config: ConfigDict, _: int) -> Found:
  """Of scorers: a smallest value above the largest keeps nothing."""
  for name, group in config.items():
    for field in group if isinstance(group, ConfigDict) else ():
      end, _, column = field.partition("_")
      high = group.get(f"max_{column}") if end == "min" else None
      if high is not None and group[field] > high:
        given = f"{name}.{field}={group[field]}"
        yield given, f"is above {name}.max_{column}={high}; nothing is kept"


def _scorers(config: ConfigDict, _: int) -> Found:
  for name in set(config.scorers.first) & set(config.scorers.later):
    yield f"scorers.later={config.scorers.later}", f"{name} is in first, too"


def _embeddings(config: ConfigDict, _: int) -> Found:
  for name in ("duplicates.min_similarity", "sampling.target", "sampling.cap"):
    group, _, field = name.partition(".")
    if config[group][field] and not config.embedding.model:
      yield (
        f"{name}={config[group][field]}",
        "needs embeddings; expected embedding.model, an ONNX file or weights "
        "of ours",
      )


def _probed_images(config: ConfigDict, _: int) -> Found:
  for name in ("train", "test"):
    # Retrieval alone needs nothing to train on.
    is_needed = (name, *config.tasks) != ("train", "retrieval")
    if is_needed and not config.data[name]:
      yield f"data.{name}=", "must be a place of images"


_BATCH = ("data.global_batch_size", "data.accumulation_steps")
_SIZES = ("data.image_size", "data.local_size", "model.size")
_OPTIM = {
  _warmup: ("optim.warmup_steps", "optim.num_steps"),
  _rates: ("optim.peak_lr", "optim.final_lr", "optim.weight_decay"),
}
_COMMON = {
  **_OPTIM,
  _local_directory: (
    *("checkpoint.local_every", "checkpoint.local_directory", "mesh.data"),
  ),
  _processes: ("distributed.num_processes", "distributed.process_id"),
  _profile_steps: ("logging.profile_steps", "optim.num_steps"),
  _timeouts: ("watchdog.timeout", "data.batch_timeout"),
  _heads: ("model.size", "mesh.tensor"),
  _sharding: ("sharding", "mesh"),
  _whole_batches: ("mesh", *_BATCH),
}
_SIZED: Rules = {
  _whole_patches("image_size", "local_size"): _SIZES,
  _equal_lengths: (*_SIZES, "masking.mask_ratio"),
  _mask_blocks: ("data.image_size", "model.size", "masking"),
}
PRETRAIN: Rules = {
  **_SIZED,
  _stages: (*_SIZES, "data.stages", "masking", "optim.num_steps"),
  _gram_start: (
    *("objective.w_gram", "objective.gram_start_step", "optim.num_steps"),
  ),
  _held_encoder: (
    *("optim.freeze_encoder_steps", "optim.num_steps", "optim.b2"),
  ),
  _koleo_groups: (
    *("objective.w_koleo", "objective.koleo_group_size", *_BATCH),
  ),
  _some_term: ("objective",),
  _frozen_teacher: (
    *("objective.w_distill", "objective.distill_from"),
    *("objective.distill_size", "model.size", "mesh.tensor"),
  ),
  _decoder_heads: ("model.decoder_dim", "model.decoder_heads", "mesh.tensor"),
  _measured_path("probes"): ("probes.every", "probes.path"),
  _keep_best("probes", "probe"): ("probes.every", "checkpoint.keep_best"),
  **_COMMON,
}
FINETUNE: Rules = {
  _whole_patches("image_size"): ("data.image_size", "model.size"),
  _task: (
    *("task", "head", "data.image_size", "data.augment", "model"),
    "checkpoint.keep_best",
  ),
  _frozen_stages: ("optim.frozen_stages", "model.size", "model.init_from"),
  _lora: ("model.lora_rank", "model.init_from", "optim.frozen_stages"),
  _init_head: ("model.init_head", "model.init_from", "model.init_parts"),
  _measured_path("evaluation"): ("evaluation.every", "evaluation.path"),
  _keep_best("evaluation", "eval"): (
    *("evaluation.every", "checkpoint.keep_best"),
  ),
  **_COMMON,
}
PROBE: Rules = {
  **_OPTIM,
  _processes: ("distributed.num_processes", "distributed.process_id"),
  _some_task: ("tasks",),
  # Patches have one size in all models.
  _whole_patches("image_size", size="0.4b"): ("data.image_size",),
  _probed_images: ("tasks", "data.train", "data.test"),
}
CURATION: Rules = {
  _limits: tuple(scorers.SCORERS),
  _scorers: ("scorers",),
  _embeddings: ("duplicates", "sampling", "embedding.model"),
}

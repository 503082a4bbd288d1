"""What pretraining adds to the report of a run."""

import shlex

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.common.progress import Progress
from data_pipelines.open_source import open_source, places
from sapiens2_jax.evaluation import encoding
from sapiens2_jax.pretrain.objective import PretrainObjective
from sapiens2_jax.pretrain.report import (
  components,
  neighbors,
  photographs,
  reconstruction,
  verdict,
)
from sapiens2_jax.pretrain.report.notes import make_notes
from sapiens2_jax.pretrain.report.photographs import Photograph
from sapiens2_jax.report.contents import Contents
from sapiens2_jax.report.page import Figure, Section
from sapiens2_jax.report.photographs import choose
from sapiens2_jax.report.pictures import (
  HEIGHT,
  Sheet,
  Tile,
  stretch,
  to_image,
)
from sapiens2_jax.report.run import Run
from sapiens2_jax.training import checkpoints, stages

NUM_SHOWN = 6  # photographs in pictures
NUM_TRAINED = 16  # whose crops are drawn as in training
NUM_OVERVIEW = 3  # that lead the page
_DECODE_SCALE = 3  # times the training size: no view is enlarged for nothing


def make_contents(
  objective: PretrainObjective, run: Run, data_path: str | None, count: int
) -> Contents:
  """Runs the newest checkpoint on photographs, and says what it did.

  Args:
    objective: of the run.
    run: facts.
    data_path: of photographs, None for the run's own data.
    count: how many are read, at most.
  """
  config = run.config
  path = data_path or config.data.path
  num_records, found, missing = read_photographs(run, path, count)
  given, seen = map(places, (path, config.data.path))
  was_seen, highlights = not given.isdisjoint(seen), None
  if found:
    epoch = last_whole_pass(run, num_records)
    sections, highlights = look(objective, run.workdir, found, epoch)
    if not was_seen:
      other = f"The photographs are of {path}, not of the run's own data."
      missing = f"{other} {missing}".strip()
  else:
    subjects = [components, neighbors]
    if reconstruction.metric(objective):
      subjects.insert(0, reconstruction)
    sections = [
      Section(subject.NAME, subject.TITLE, warnings=[missing])
      for subject in subjects
    ]
  size = config.model.size
  experiment = f"pretrain:size={size}"
  own = (
    "Train on a folder of your own photographs",
    f"sapiens2 train --config {experiment} "
    "--workdir runs/mine --config.data.path=PHOTOGRAPHS",
  )
  from_here = (
    "Go on from here with your own photographs",
    "sapiens2 train --config "
    f"continue:size={size},start=run --workdir runs/mine "
    "--config.data.path=PHOTOGRAPHS "
    f"--config.model.init_from={shlex.quote(run.place)}",
  )
  return Contents(
    title=f"sapiens2_jax pretraining, size {size}",
    verdict=verdict.judge(sections, was_seen),
    highlights=highlights,
    experiment=experiment,
    facts=make_facts(objective, run, num_records if given == seen else None),
    sections=sections,
    notes=make_notes(objective, sections),
    commands=[own, from_here],
    credits=[photograph.credit for photograph in found],
    missing=missing,
  )


def make_facts(
  objective: PretrainObjective, run: Run, num_records: int | None
) -> list[tuple[str, str]]:
  """What only pretraining has; `num_records` are in the run's data."""
  config = run.config
  height, width = config.data.image_size
  facts = [
    ("started from", config.model.init_from or "random weights"),
    ("global crops", f"{config.data.num_global} of {height} x {width} pixels"),
    ("masking", describe_masking(config.masking)),
  ]
  *earlier, last = objective.stages()
  if earlier:
    said = "; ".join(map(stages.describe, (*earlier, last)))
    facts.append(("stages", said))
  if num_records:
    passes = run.images_seen / num_records
    facts.append(("photographs", f"{num_records:,} ({passes:,.0f} passes)"))
  return facts


def describe_masking(masking: ConfigDict) -> str:
  return f"{masking.mode}, {masking.mask_ratio:.0%} of patches hidden"


def last_whole_pass(run: Run, num_records: int) -> int:
  """Number of the last pass over the data that is complete; at least 0."""
  return max(0, run.images_seen // num_records - 1)


def read_photographs(
  run: Run, path: str, count: int
) -> tuple[int | None, list[Photograph], str]:
  """Reads at most `count` of the photographs at `path`.

  Returns:
    How many there are (None: no such source), those read, and what is missing
    and why ("": nothing).
  """
  data = run.config.data
  try:
    source = open_source(path)
    found, failed = photographs.read(
      source,
      choose(len(source), count),
      min_size=tuple(_DECODE_SCALE * side for side in data.image_size),
      max_pixels=data.max_pixels,
    )
  except (ValueError, OSError, sources.ShardReadError) as error:
    text = f"No pictures: the photographs cannot be read ({error})."
    return None, [], f"{text} Give others with --data."
  missing = ""
  if failed:
    missing = f"Left out, as they cannot be decoded: {'; '.join(failed)}"
  return len(source), found, missing


def look(
  objective: PretrainObjective,
  workdir: str,
  found: list[Photograph],
  epoch: int,
) -> tuple[list[Section], Figure]:
  """Runs the newest checkpoint on at least one photograph.

  Args:
    objective: of the run.
    workdir: of the run.
    found: photographs.
    epoch: whose crops and masks the training losses are measured on.

  Returns:
    The sections, and the pictures that lead the page.
  """
  shown, sections, images = found[:NUM_SHOWN], [], []
  progress = Progress("report", 4, "parts")
  # One set of weights at a time: large sizes fill the memory.
  if reconstruction.metric(objective):
    names = ("encoder", "decoder")
    _, student = checkpoints.load_part(
      workdir, lambda state: {name: state.params[name] for name in names}
    )
    _, key = checkpoints.load_part(workdir, lambda state: state.rng)
    rng, trained = jax.random.wrap_key_data(key), found[:NUM_TRAINED]
    section, images = reconstruction.find(
      objective, student, rng, shown, trained, epoch
    )
    sections.append(section)
    del student
  progress.advance()
  crops, groups = neighbors.cut(objective.config, found)

  def encode(params: dict) -> np.ndarray:
    return encoding.encode(objective.encoder, params, crops)["cls"]

  by_random = encode(neighbors.random_weights(objective))
  progress.advance()
  _, teacher = checkpoints.load_part(workdir, objective.encoder_params)
  section, colors = components.find(objective, teacher, shown)
  area = tuple(objective.config.data.local_area)
  progress.advance()
  near = neighbors.find(crops, groups, encode(teacher), by_random, area)
  progress.advance()
  progress.close()
  return [*sections, section, near], draw_highlights(shown, images, colors)


def draw_highlights(
  shown: list[Photograph], images: list[tuple[np.ndarray, ...]], colors
) -> Figure:
  """Views of the first photographs; `images` are of the reconstruction."""
  labels, groups = ["photograph"], []
  if images:
    labels += ["what it saw", "what it filled in"]
  labels.append("its features")
  for i, photograph in enumerate(shown[:NUM_OVERVIEW]):
    size = (HEIGHT * colors.shape[2] // colors.shape[1], HEIGHT)
    if images:
      tiles = [to_image(pixels, HEIGHT) for pixels in images[i]]
      size = tiles[0].size
    else:
      view = photographs.cut_center(photograph, size[::-1])
      tiles = [to_image(view, HEIGHT)]
    tiles.append(stretch(to_image(colors[i], colors.shape[1]), size))
    name = photograph.credit[0]
    groups.append(
      [
        Tile(image, label, text=f"{label}: {name}")
        for image, label in zip(tiles, labels)
      ]
    )
  caption = (
    "Its features: the three directions in which features of patches differ "
    "most, as red, green and blue. One colour on one kind of thing, also "
    "across photographs, is what good features show."
  )
  if images:
    caption = (
      "From each photograph the model saw a few patches and filled in the "
      f"rest; brightness and contrast of each patch were given. {caption}"
    )
  return Figure(Sheet(groups, width=1), "Views of photographs", caption)

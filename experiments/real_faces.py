r"""Does what the toy learns carry over to real faces? Landmarks on 43 of them.

Run:    sapiens2 experiment --config real_faces --output runs/replication
Needs:  two CPU cores, a quarter of an hour [estimate: measured beside other
        work only] beside the pretraining of `--config replication`, which is
        done first if OUTPUT has none of it; apt of Debian or a relative of it,
        for 9 MB, once

The faces are those of dlib's examples, 18 to train on and 25 to test, with 68
landmarks that a model of dlib found. A ridge regression goes from frozen
features of the toys of the replication to the landmarks, and from those of a
toy that was trained on the pose of synthetic people only, whose own keypoints
of the face are measured, too. The same command continues what was stopped. All
choices are ours.
"""

import functools
import itertools
import json
import os
import pathlib
import statistics

import jax
import numpy as np
from matplotlib.figure import Figure

from data_pipelines import vocabulary
from data_pipelines.common import images
from data_pipelines.common.files import read_json, write_json
from data_pipelines.corpus.labels import Labels, decode_labels
from data_pipelines.faces import dlib, fetching
from data_pipelines.open_source import open_source
from sapiens2_jax.config import load_module
from sapiens2_jax.evaluation import encoding, landmarks
from sapiens2_jax.interop.load import load_pretrained, load_task
from sapiens2_jax.models import batching
from sapiens2_jax.prediction.inputs import make_people
from sapiens2_jax.report import curves
from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase
from sapiens2_jax.sweep.points import train_arguments
from sapiens2_jax.sweep.status import last_checkpoint

_HERE = pathlib.Path(__file__).parent
_SIDE = 128  # of the crops; the toy's views were 128 x 96
POSE, _POSE_SEEDS = "pose of synthetic people", (0,)
_POSE_STEPS = 2000  # the default is 3000
_BATCH = 16
# Points of the iBUG scheme that the 308 have, too. Left out are jaw, brows and
# nose bridge, and lids and lips between corners and centres: their points lie
# elsewhere, or where they lie is a guess of ours (docs/keypoints.md).
SAME_POINTS = {
  30: "tip_of_nose",
  33: "bottom_center_of_nose",
  36: "r_outer_end_of_upper_lash_line",
  39: "r_inner_end_of_upper_lash_line",
  42: "l_inner_end_of_upper_lash_line",
  45: "l_outer_end_of_upper_lash_line",
  48: "r_outer_corner_of_mouth",
  51: "center_of_cupid_bow",
  54: "l_outer_corner_of_mouth",
  57: "center_of_lower_outer_lip",
  60: "r_inner_corner_of_mouth",
  62: "center_of_upper_inner_lip",
  64: "l_inner_corner_of_mouth",
  66: "center_of_lower_inner_lip",
}
# Lines that the points make, in a picture.
_LINES = tuple(
  [*range(start, end), *closed]
  for start, end, *closed in (
    *((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42, 36)),
    *((42, 48, 42), (48, 60, 48), (60, 68, 60)),
  )
)
_SHOWN = 6  # test faces in the picture
# What is shown to the pose model, chosen on the faces to train on: height over
# that of the face's box, and how much of the rest lies below the face.
_REGIONS = tuple(
  itertools.product((1.5, 2.0, 3.0, 4.5, 6.0), (0.7, 0.85, 1.0, 1.15))
)

_MEASURE = (
  "import sys; from sapiens2_jax.config import load_module; "
  "load_module(sys.argv[1]).measure_run(*sys.argv[2:])"
)


@functools.cache
def _replication():
  return load_module(_HERE / "replication.py")


def _variants() -> tuple[str, ...]:
  """Of the replication, those whose features see faces."""
  known = _replication()
  return (
    *(known.RANDOM, known.RECONSTRUCTION),
    *(known.DISTILLATION, known.JOINT),
  )


def list_runs(output: str) -> dict[str, dict[int, tuple[str, str]]]:
  """Of each variant and seed the workdir, and its last checkpoint."""
  replication, runs = _replication(), {}
  for variant in _variants():
    runs[variant] = {}
    for seed in replication.SEEDS:
      workdir = replication.workdir_of(output, variant, seed)
      values = replication.get_values(variant, seed)
      last = last_checkpoint(workdir, values["optim.num_steps"])
      runs[variant][seed] = workdir, last
  runs[POSE] = {}
  for seed in _POSE_SEEDS:
    workdir = os.path.join(output, "real_faces", f"pose-seed-{seed}")
    runs[POSE][seed] = workdir, last_checkpoint(workdir, _POSE_STEPS)
  return runs


def results_path(output: str, variant: str, seed: int) -> str:
  name = f"{variant.replace(' ', '-')}-seed-{seed}.json"
  return os.path.join(output, "real_faces", name)


def make_phases(output: str) -> list[Phase]:
  """Everything up to the table, in order."""
  runs = list_runs(output)
  phases = [
    phase
    for phase in _replication().make_phases(output, _variants())
    if not phase.title.startswith("probe")
  ]
  phases.append(Phase("photographs of faces", ("-m", "data_pipelines.faces")))
  test = os.path.join(output, "test")
  for seed, (workdir, last) in runs[POSE].items():
    values = {
      **{"seed": seed, "data.path": os.path.join(output, "people")},
      **{"optim.num_steps": _POSE_STEPS, "evaluation.path": test},
      "evaluation.every": _POSE_STEPS,
    }
    train = train_arguments("finetune:task=pose,size=toy", workdir, values)
    phases.append(Phase(f"train: {POSE}, seed {seed}", train, last))
  for variant, seeds in runs.items():
    for seed, (workdir, last) in seeds.items():
      done = results_path(output, variant, seed)
      more = (test,) if variant == POSE else ()
      arguments = ("-c", _MEASURE, __file__, workdir, done, *more)
      title = f"landmarks: {variant}, seed {seed}"
      phases.append(Phase(title, arguments, done, last, since=last))
  return phases


def read_faces() -> tuple[list[dlib.Face], list[dlib.Face], dict]:
  """Faces to train on and to test, and pixels of their photographs."""
  place = fetching.find_faces()
  train, test = (
    dlib.read_faces(place / name) for name in (fetching.TRAIN, fetching.TEST)
  )
  paths = {face.image: pathlib.Path(face.image) for face in (*train, *test)}
  pixels = {k: images.decode_image(v.read_bytes()) for k, v in paths.items()}
  return train, test, pixels


def cut_faces(train, test, pixels) -> tuple[landmarks.Crops, landmarks.Crops]:
  """The crops of all probes."""
  draws = landmarks.TRAIN_DRAWS
  return (
    landmarks.cut(train, pixels, _SIDE, draws=draws, seed=0, mirrors=True),
    landmarks.cut(test, pixels, _SIDE, draws=landmarks.TEST_DRAWS, seed=1),
  )


def measure_run(workdir: str, path: str, synthetic: str | None = None) -> None:
  """Probes the encoder of a run, and writes what was found.

  Args:
    workdir: of the run.
    path: of the JSON file.
    synthetic: a corpus of synthetic people, for a run of pose.
  """
  train, test, pixels = read_faces()
  crops = cut_faces(train, test, pixels)
  encoder = load_pretrained(workdir)

  def encode(inputs: np.ndarray) -> np.ndarray:
    return encoding.encode(*encoder, inputs)["patches"]

  found = landmarks.measure(encode, *crops, [face.image for face in train])
  straight = crops[1].straight
  result = {
    "strength": found["strength"],
    "cross_validated": found["cross_validated"],
    "errors": found["errors"][straight].tolist(),
    "errors_moved": found["errors"][~straight].tolist(),
    "points": found["points"][straight].round(2).tolist(),
  }
  if synthetic:
    result["own"] = measure_own(workdir, train, test, pixels, synthetic)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  write_json(path, result)


def measure_own(
  workdir: str, train: list, test: list, pixels: dict, synthetic: str
) -> dict:
  """NME of a pose model's own points: of real faces, and of synthetic ones."""
  model, params = load_task(workdir)
  apply = functools.partial(jax.jit(model.predict), params)
  own = [vocabulary.keypoints()["names"].index(x) for x in SAME_POINTS.values()]

  def errors(faces, photographs, boxes) -> np.ndarray:
    inputs = []
    for face, box in zip(faces, boxes):
      people = make_people([box])
      inputs += model.task.preprocess(photographs[face.image], people)
    stacked = np.stack([one.image for one in inputs])
    outputs = batching.map_batches(apply, _BATCH, stacked)
    each = [dict(zip(outputs, row)) for row in zip(*outputs.values())]
    found = model.task.postprocess(each, inputs)[:, own, :2]
    true = np.stack([face.points for face in faces])
    unit = landmarks.eye_distance(true)
    return landmarks.normalized_error(found, true[:, [*SAME_POINTS]], unit)

  def around(faces, region) -> list:
    return [person_box(face.box, *region) for face in faces]

  trials = {
    region: errors(train, pixels, around(train, region)) for region in _REGIONS
  }
  region = min(trials, key=lambda one: trials[one].mean())
  least = min(landmarks.eye_distance(np.stack([f.points for f in test])))
  drawn, photographs, boxes = read_synthetic(synthetic, own, train, least)
  regions = around(drawn, region)
  return {
    "region": region,
    "train": trials[region].tolist(),
    "errors": errors(test, pixels, around(test, region)).tolist(),
    "synthetic": errors(drawn, photographs, regions).tolist(),
    "synthetic_boxes": errors(drawn, photographs, boxes).tolist(),
  }


def person_box(box, height: float, below: float) -> tuple:
  """A person's box around a face's; see `_REGIONS`."""
  top, left, own, width = box
  rest = (height - 1) * own
  side = 0.75 * height * own  # The aspect of what the model sees.
  middle = left + width / 2
  return top - (1 - below) * rest, middle - side / 2, height * own, side


def read_synthetic(
  path: str, own: list[int], train: list[dlib.Face], least: float
) -> tuple[list[dlib.Face], dict, list]:
  """Faces of synthetic people, all of whose points show, and people's boxes.

  They get boxes that lie around these points as those of real faces do.

  Args:
    path: of a corpus.
    own: which keypoints.
    train: real faces.
    least: distance of the outer corners of their eyes, pixels.
  """
  ids, shapes = [*SAME_POINTS], []
  for face in train:
    top, left, height, width = face.box
    shapes.append((face.points[ids] - (left, top)) / (width, height))
  shape = np.zeros((1, dlib.NUM_POINTS, 2))
  shape[0, ids] = np.mean(shapes, axis=0)
  unit, center = landmarks.eye_distance(shape)[0], shape[0, ids].mean(axis=0)
  faces, photographs, boxes = [], {}, []
  source = open_source(path)
  for number in range(len(source)):
    record = source[number]
    people: Labels = decode_labels(record.labels, ("people",))
    for person in people.people:
      points = np.zeros((1, dlib.NUM_POINTS, 2))
      points[0, ids] = person.keypoints[own, :2]
      distance = landmarks.eye_distance(points)[0]
      if distance < least or not (person.keypoints[own, 2] == 2).all():
        continue
      side = distance / unit
      left, top = points[0, ids].mean(axis=0) - side * center
      name = str(number)
      photographs[name] = images.decode_image(record.image)
      faces.append(dlib.Face(name, (top, left, side, side), points[0]))
      boxes.append(person.box)
  if not faces:
    raise ValueError(
      f"{path}: no face shows all {len(ids)} points, its eyes {least:.0f} "
      "pixels apart as those of real ones; make more people."
    )
  return faces, photographs, boxes


def summarize(output: str) -> dict[str, bytes]:
  """What was measured: name of each file, content."""
  train, test, pixels = read_faces()
  crops = cut_faces(train, test, pixels)
  constant = landmarks.mean_shape(*crops)
  straight = crops[1].straight
  trivial = constant[straight], constant[~straight]
  found = {
    variant: {
      seed: read_json(results_path(output, variant, seed)) for seed in seeds
    }
    for variant, seeds in list_runs(output).items()
  }
  lines = [
    *_format_probes(found, trivial),
    "",
    *_format_comparisons(found),
    "",
    *_format_own(found[POSE], crops),
    "",
  ]
  numbers = {
    "mean shape": [100 * float(side.mean()) for side in trivial],
    **{
      variant: {key: _means(seeds, key) for key in ("errors", "errors_moved")}
      for variant, seeds in found.items()
    },
  }
  return {
    "real_faces.md": "\n".join(lines).encode(),
    "real_faces.json": json.dumps(numbers, indent=2).encode(),
    "real_faces.png": draw(found, crops[1]),
  }


def draw(found, test: landmarks.Crops) -> bytes:
  """Points of some test faces and what was found, without pictures; PNG."""
  true = test.points[test.straight]
  shown = np.linspace(0, len(true) - 1, min(_SHOWN, len(true))).astype(int)
  size = (1.5 * len(shown), 1.6 * len(found))
  figure = Figure(figsize=size, layout="constrained")
  panels = figure.subplots(len(found), len(shown), squeeze=False)
  for row, (variant, seeds) in zip(panels, found.items()):
    (first, *_) = seeds.values()
    points = np.array(first["points"])
    for axes, own, wanted in zip(row, points[shown], true[shown]):
      for lines, color in ((wanted, "0.7"), (own, "C0")):
        for line in _LINES:
          axes.plot(*lines[line].T, color=color, linewidth=1)
      axes.set(xlim=(0, _SIDE), ylim=(_SIDE, 0), aspect="equal")
      axes.set(xticks=(), yticks=())
    row[0].set_ylabel(variant.replace(" of ", "\nof "), fontsize=8)
  return curves.to_png(figure)


def _means(seeds: dict[int, dict], key: str) -> list[float]:
  """NME in percent of each seed."""
  return [100 * statistics.fmean(run[key]) for run in seeds.values()]


def _spread(values: list[float]) -> str:
  mean, half = phases_lib.spread(values)
  return f"{mean:.1f} ± {half:.1f}" if len(values) > 1 else f"{mean:.1f}"


def _format_probes(found, trivial) -> list[str]:
  header = [
    *("features of", "seeds", "NME, %", "faces better than the mean shape"),
    *("NME, %, boxes moved", "ridge, chosen on train"),
  ]
  given, moved = (f"{100 * side.mean():.1f}" for side in trivial)
  rows = [["none: the mean shape of train", "-", given, "-", moved, "-"]]
  for variant, seeds in found.items():
    better = [
      int((np.array(run["errors"]) < trivial[0]).sum())
      for run in seeds.values()
    ]
    strengths = sorted({run["strength"] for run in seeds.values()})
    rows.append(
      [
        f"toy, {variant}",
        str(len(seeds)),
        _spread(_means(seeds, "errors")),
        f"{statistics.fmean(better):.1f} of {len(trivial[0])}",
        _spread(_means(seeds, "errors_moved")),
        ", ".join(f"{strength:g}" for strength in strengths),
      ]
    )
  return phases_lib.table(header, rows)


def _format_comparisons(found) -> list[str]:
  """Each pair of pretrained toys: better or worse in all seeds?"""
  rows = []
  names = [name for name in found if name != POSE]
  for one, other in itertools.combinations(reversed(names), 2):
    cells = [
      phases_lib.compare(
        _means(found[one], key), _means(found[other], key), False
      )
      for key in ("errors", "errors_moved")
    ]
    rows.append([f"{one} against {other}", *cells])
  return phases_lib.table(["", "NME", "NME, boxes moved"], rows)


def _format_own(seeds, crops) -> list[str]:
  """The pose model's own points, the probe's, and the mean shape's."""
  train, test = crops
  straight, ids = test.straight, [*SAME_POINTS]
  true = test.points[straight]
  unit = landmarks.eye_distance(true)
  shape = train.points[train.straight].mean(axis=0)

  def of(points: np.ndarray) -> float:
    errors = landmarks.normalized_error(points[:, ids], true[:, ids], unit)
    return 100 * float(errors.mean())

  own = [run["own"] for run in seeds.values()]
  means = {
    key: [100 * statistics.fmean(run[key]) for run in own]
    for key in ("errors", "synthetic", "synthetic_boxes")
  }
  probed = [of(np.array(run["points"])) for run in seeds.values()]
  center = true[:, ids].mean(axis=1, keepdims=True)
  centered = landmarks.normalized_error(center, true[:, ids], unit)
  real = f"{len(true)} real"
  drawn = f"{len(own[0]['synthetic'])} synthetic"
  rows = [
    ["the mean shape of real faces", real, f"{of(shape[None]):.1f}"],
    ["all at their true centre", real, f"{100 * centered.mean():.1f}"],
    ["probe of its features", real, _spread(probed)],
    ["its own keypoints, cut alike", real, _spread(means["errors"])],
    ["its own keypoints, cut alike", drawn, _spread(means["synthetic"])],
    [
      "its own keypoints, in people's boxes",
      drawn,
      _spread(means["synthetic_boxes"]),
    ],
  ]
  regions = ", ".join(
    f"{height:g} faces high, {100 * below:.0f} % of the rest below"
    for height, below in (run["region"] for run in own)
  )
  header = [f"{len(ids)} points that both have", "faces", "NME, %"]
  note = f"Cut alike: {regions}, chosen on train."
  return [*phases_lib.table(header, rows), "", note]

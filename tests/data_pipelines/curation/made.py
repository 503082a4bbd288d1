"""Pools, scorers that misbehave, and a curation in a process of its own."""

import json
import os
import pathlib
import pickle
import signal
import sys
import time

import numpy as np
from PIL import Image

from data_pipelines.curation import (
  deciding,
  duplicates,
  engine,
  pipeline,
  sampling,
)
from data_pipelines.curation.scorers import make_scorer
from data_pipelines.curation.scorers.base import hash_settings
from tests.photographs import _encode

POISON = 77, 88  # Height and width of the images that scorers trip over.


def picture(seed, height=160, width=120):
  """A picture that PDQ finds enough in to compare it."""
  generator = np.random.default_rng(seed)
  coarse = generator.integers(0, 256, (12, 9, 3), dtype=np.uint8)
  return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def write_pool(folder, seeds):
  """A folder with a picture for each seed, and others for some.

  Of each fifth there is a copy, of each fourth one of less quality; each
  seventh has a broken file beside it.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for seed in seeds:
    good = _encode(picture(seed), "JPEG", quality=95)
    files = {f"{seed:03}.jpg": good}
    if seed % 5 == 0:
      files[f"{seed:03} copy.jpg"] = good
    if seed % 4 == 0:
      files[f"a {seed:03}.jpg"] = _encode(picture(seed), "JPEG", quality=85)
    if seed % 7 == 0:
      files[f"{seed:03} cut.jpg"] = good[:700]
    for name, data in files.items():
      (folder / name).write_bytes(data)


class Scorer:
  """A scorer of the mean level; subclasses do worse."""

  name = "made"
  columns = {"mean": "float32", "vector": "list<float32>"}

  def fingerprint(self):
    return hash_settings(type(self).__name__)

  def load(self):
    self.model = lambda: None  # As models are: not to be pickled.

  def score(self, images, earlier):
    return [self.measure(image) for image in images]

  def measure(self, image):
    if image.shape[:2] == POISON:
      self.trip()
    coarse = image[::40, ::40].astype(np.float32).ravel()[:8] - 128
    return {"mean": float(image.mean()), "vector": coarse.tolist()}

  def trip(self):
    pass


class Later(Scorer):
  """Repeats what is known already."""

  name = "later"
  columns = {"known": "int32"}

  def score(self, images, earlier):
    return [{"known": known["quality_short_side"]} for known in earlier]


class Raises(Scorer):
  def trip(self):
    raise RuntimeError("tripped")


class Dies(Scorer):
  def trip(self):
    os.kill(os.getpid(), signal.SIGKILL)


class Hangs(Scorer):
  def trip(self):
    time.sleep(1000)


class Slow(Scorer):
  """Says which process works, and takes its time."""

  def score(self, images, earlier):
    pathlib.Path(os.environ["MADE_PIDS"], str(os.getpid())).touch()
    time.sleep(0.05 * len(images))
    return super().score(images, earlier)


class SlowPairs(duplicates.FindPairs):
  """Says which process groups, and takes its time."""

  def __call__(self, number):
    pathlib.Path(os.environ["MADE_GROUPS"], str(os.getpid())).touch()
    time.sleep(0.2)
    super().__call__(number)


class InProcess:
  """An engine without processes."""

  num_units = 0

  def map_units(self, job, units):
    job = pickle.loads(pickle.dumps(job))
    job.load()
    for unit in units:
      self.num_units += 1
      job(pickle.loads(pickle.dumps(unit)))
    return []


def make_settings(scorer=None, **changes):
  scorers = make_scorer("quality"), make_scorer("hashes"), scorer or Scorer()
  given = {
    "passes": (scorers,),
    "limits": (deciding.Limit("quality_brightness", 20, 235),),
    "best": ("num_pixels", "num_bytes"),
    "shard_size": 7,
    **changes,
  }
  return pipeline.Settings(**given)


def curate(inputs, output, settings=None, on=None, **work):
  """Curates with small units; in this process if no engine is given."""
  work = pipeline.Work(
    on or InProcess(), files_per_shard=5, batch_size=3, **work
  )
  return pipeline.curate(inputs, output, settings or make_settings(), work)


def balanced(target):
  how = sampling.Sampling(target, (6, 2), cap=4, seed=1)
  return make_settings(embedding="made_vector", sampling=how)


def contents(output):
  """What the corpus of a curation is made of, to the byte."""
  corpus = pathlib.Path(output, "corpus")
  return {path.name: path.read_bytes() for path in corpus.iterdir()}


def main():
  """Curates: input, output, class of the scorer, workers, runner."""
  source, output, scorer, workers, runner = sys.argv[1:]
  if "MADE_GROUPS" in os.environ:
    duplicates.FindPairs = SlowPairs
  manifest = curate(
    [source],
    output,
    make_settings(globals()[scorer]()),
    engine.Engine(runner, int(workers)),
    seconds=20.0,
  )
  print(json.dumps(manifest["curation"]["funnel"]))


if __name__ == "__main__":
  # Scorers are found by the name of this module, not as part of __main__.
  from tests.data_pipelines.curation import made

  made.main()

import dataclasses
import pickle

import cv2
import numpy as np
import pytest

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels, decode_labels, encode_labels
from data_pipelines.loading import loader
from data_pipelines.open_source import open_source
from sapiens2_jax import tasks
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.tasks.base import ModelInput
from sapiens2_jax.tasks.examples import TaskExamples, read_labels
from sapiens2_jax.training import data
from tests import tiny_task
from tests.tasks import samples

CONFIG = tiny_task.load_config()


class Source:
  """Records in memory."""

  def __init__(self, found):
    self.found = found

  def __len__(self):
    return len(self.found)

  def __getitem__(self, index):
    return self.found[index]

  def name(self, index):
    return self.found[index].name

  def location(self, index):
    return self.name(index)


def read(source, steps=3, **changes):
  settings = loader.LoaderConfig(
    TaskExamples(tasks.make_task(CONFIG)), global_batch_size=4, **changes
  )
  made = loader.make_loader(source, settings, start_step=0, num_steps=steps)
  try:
    return list(made)
  finally:
    made.close()


def records(count, labelled=lambda number: True):
  return Source([tiny_task.make_record(n, labelled(n)) for n in range(count)])


def test_a_batch_has_the_arrays_of_the_task():
  (batch, skipped), *_ = read(records(5))
  assert not skipped
  shapes = {name: (a.shape, a.dtype) for name, a in batch.items()}
  assert shapes == {
    "image": ((1, 4, 64, 48, 3), np.uint8),
    "alpha": ((1, 4, 4, 3), np.float32),
    "weight": ((1, 4), np.float32),
    "index": ((1, 4), np.int32),
    "epoch": ((1, 4), np.int32),
  }
  assert (batch["weight"] == 1).all()


def test_an_example_depends_on_seed_record_and_epoch_alone():
  task = tasks.make_task(CONFIG)
  record = tiny_task.make_record(0)

  def make(seed, index, epoch):
    maker = pickle.loads(pickle.dumps(TaskExamples(task, seed=seed)))
    out = {n: np.empty(*wanted) for n, wanted in maker.element_spec().items()}
    maker.make(record, index, epoch, out)
    return out["image"].tobytes()

  for change in range(3):
    keys = np.zeros((12, 3), int)
    keys[:, change] = range(12)
    made = [make(*key) for key in keys]
    assert made == [make(*key) for key in keys]
    assert len(set(made)) == 2  # Mirrored or not.


def test_without_augmentation_it_is_what_the_task_sees_at_test_time():
  task = samples.make_task("normal")
  image, labels = samples.ball()
  record = tiny_task.make_record(0)
  png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
  record = dataclasses.replace(
    record, image=png, labels=encode_labels(labels), height=90, width=60
  )
  out = {n: np.empty(*wanted) for n, wanted in task.element_spec().items()}
  TaskExamples(task, augment=False, seed=5).make(record, 3, 2, out)
  (expected,) = task.preprocess(image, None)
  np.testing.assert_array_equal(out.pop("image"), expected.image)
  (targets,) = task.targets(decode_labels(record.labels), image.shape[:2])
  assert out.keys() == targets.keys()
  for name in out:
    np.testing.assert_array_equal(out[name], targets[name])


class OnePersonAtATime:
  """Sees three people; of the second nothing is known."""

  needs = ("alpha",)

  def preprocess(self, image, labels):
    return [ModelInput(np.uint8(number), None) for number in range(3)]

  def targets(self, labels, size):
    assert size == labels.alpha.shape
    return [{"number": 0}, None, {"number": 2}]

  def element_spec(self):
    return {"image": ((), np.uint8), "number": ((), np.int32)}


def test_without_augmentation_it_is_one_of_the_known_people():
  maker = TaskExamples(OnePersonAtATime(), augment=False)
  record = tiny_task.make_record(0)
  made = []
  for epoch in range(20):
    out = {n: np.empty(*wanted) for n, wanted in maker.element_spec().items()}
    maker.make(record, 0, epoch, out)
    assert out["image"] == out["number"]
    made.append(int(out["image"]))
  assert set(made) == {0, 2}


def test_workers_make_the_same_and_touch_no_device(tmp_path):
  path = tiny_task.write_corpus(tmp_path / "corpus", records(5).found)
  source = open_source(path)
  alone = read(source)
  for (batch, _), (expected, _) in zip(read(source, num_workers=1), alone):
    for name in expected:
      np.testing.assert_array_equal(batch[name], expected[name])


def test_records_without_labels_are_left_out_and_counted():
  source = records(6, labelled=lambda number: number % 2)
  for batch, skipped in read(source):
    assert (batch["index"] % 2).all()
    assert {item.reason for item in skipped} <= {"no labels"}
  assert sum(len(skipped) for _, skipped in read(source)) >= 6


def test_a_corpus_without_labels_ends_with_the_reason():
  with pytest.raises(loader.NoUsableImage, match=r"2.png \(no labels\)"):
    read(records(3, labelled=lambda _: False))


def test_a_run_on_a_corpus_without_labels_does_not_start(tmp_path):
  found = [tiny_task.make_record(n, is_labelled=False) for n in range(3)]
  path = tiny_task.write_corpus(tmp_path / "corpus", found)
  config = tiny_task.load_config(f"data.path={path}")
  with pytest.raises(
    ValueError,
    match=r"data.path=.*task.name=alpha needs labels \(alpha\), but none of "
    "the 3 images that were looked at has them: 3 no labels",
  ):
    data.open_source(build_objective(config))


@pytest.mark.parametrize(
  ("labels", "reason"),
  [
    (b"", "no labels"),
    (b"no map", "damaged labels"),
    (encode_labels(Labels(people=())), "no alpha in the labels"),
  ],
)
def test_each_fault_of_labels_has_a_reason(labels, reason):
  record = tiny_task.make_record(0)
  object.__setattr__(record, "labels", labels)
  with pytest.raises(UnusableExample) as caught:
    read_labels(record, tasks.make_task(CONFIG))
  assert caught.value.reason == reason


def test_an_unknown_task_is_named():
  config = tiny_task.load_config()
  with config.unlocked():
    config.task.name = "alhpa"
  with pytest.raises(
    ValueError, match="unknown task.name 'alhpa'; did you mean"
  ):
    tasks.make_task(config)

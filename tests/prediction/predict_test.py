"""Each task through `predict_folder` and its page."""

import json
import os
import pathlib
import sys
import types
import urllib.parse

import jax
import numpy as np
import pytest

from data_pipelines.common import images
from sapiens2_jax.fields import Field
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.prediction import inputs, options, people, run
from sapiens2_jax.prediction.gallery import write_gallery
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.output import Output
from sapiens2_jax.training.step import jit_spread
from tests import forking
from tests.interop.task_samples import HEADS
from tests.prediction import models
from tests.prediction.running import boxes_file, predict, read, read_people
from tests.report import pages

ROOT = pathlib.Path(__file__).parents[2]
# Task -> (folder, end of the name, shape of the array behind the image's own).
NUMBERS = {
  "pose": (("keypoints", ".json", None),),
  "segmentation": (("parts", ".png", ()),),
  "normal": (("normals", ".npy", (3,)),),
  "pointmap": (("depth", ".npy", ()), ("pointmaps", ".npy", (3,))),
  "albedo": (),
  "matting": (("mattes", ".png", (4,)), ("mattes", "_alpha.npy", ())),
}


FOLDERS = sorted({f"{row[0]}/" for rows in NUMBERS.values() for row in rows})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return models.write_images(tmp_path_factory.mktemp("images"))


def check_page(text, output):
  page = pages.check_page(text, ("predictions/", "thumbnails/", *FOLDERS))
  for name in (*models.SIZES, models.BROKEN):
    assert name in "".join(page.texts)
  assert "://" not in text and "<a> b" not in text
  for link in page.links:
    if not link.startswith("#"):
      assert (output / urllib.parse.unquote(link)).is_file(), link


@pytest.mark.parametrize("task", HEADS)
def test_each_image_has_a_picture_and_numbers_of_its_size(
  task, tmp_path, folder
):
  output, found, model, params = predict(task, tmp_path, folder)
  assert [item.name for item in found.done] == sorted(models.SIZES)
  assert [name for name, _ in found.skipped] == [models.BROKEN]
  for name, size in models.SIZES.items():
    stem = os.path.splitext(name)[0]
    assert read(output / "predictions" / f"{stem}.png").shape == (*size, 3)
    for kind, ending, channels in NUMBERS[task]:
      values = read(output / kind / f"{stem}{ending}")
      if channels is not None:
        assert values.shape == (*size, *channels)
        wanted = {".npy": "float16", ".png": "uint8", "_alpha.npy": "float32"}
        assert values.dtype == wanted[ending]
  assert not list(output.rglob("*.partial"))
  page = write_gallery(model.task, [("checkpoint", "x")], found)
  check_page(page, output)
  assert "How right they are was not measured" in page


def direct(model, params, image, labels):
  """One image alone."""
  prepared = model.task.preprocess(image, labels)
  batch = np.stack([one.image for one in prepared])
  outputs = jax.device_get(jax.jit(model.predict)(params, batch))
  listed = [{k: x[i] for k, x in outputs.items()} for i in range(len(batch))]
  return model.task.postprocess(listed, prepared)


def test_numbers_are_those_of_the_model(tmp_path, folder):
  output, _, model, params = predict("normal", tmp_path, folder)
  for name in models.SIZES:
    image = images.decode_image((folder / name).read_bytes())
    expected = direct(model, params, image, None)
    stem = os.path.splitext(name)[0]
    found = np.load(output / "normals" / f"{stem}.npy")
    np.testing.assert_allclose(found, expected, atol=2e-3)
    drawn = read(output / "predictions" / f"{stem}.png")
    levels = (np.clip((expected + 1) / 2, 0, 1) * 255).astype(int)
    assert np.abs(drawn - levels).max() <= 1


def test_each_box_has_its_own_keypoints(tmp_path, folder):
  file = boxes_file(
    tmp_path / "boxes.json",
    {"image_id": 7, "bbox": [10, 5, 30, 35]},
    {"image_id": 7, "bbox": [60.5, 0, 40, 40]},
  )
  people = read_people(file, set(models.SIZES))
  output, _, model, params = predict("pose", tmp_path, folder, people)
  listed = read(output / "keypoints" / "wide.json")
  assert [p["bbox"] for p in listed] == [[10, 5, 40, 40], [60.5, 0, 100.5, 40]]
  image = images.decode_image((folder / "wide.jpg").read_bytes())
  expected = direct(model, params, image, people["wide.jpg"])
  for person, values in zip(listed, expected, strict=True):
    # Newton's step has no bound: in noise, rounding moves a few far.
    apart = np.abs(np.array(person["keypoints"]) - values[:, :2]).max(axis=1)
    assert np.mean(apart < 0.01) > 0.95
    np.testing.assert_allclose(
      person["keypoint_scores"], values[:, 2], atol=1e-3
    )
  # Nobody was found in the other: all of it.
  (whole,) = read(output / "keypoints" / "tall" / "<a> b.json")
  assert whole["bbox"] == [0, 0, 49, 89]


@pytest.mark.parametrize(
  "names, stems",
  [
    (["a.jpg", "b/a.png"], ["a", "b/a"]),
    (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b.png"]),
  ],
)
def test_no_two_images_write_the_same_file(names, stems):
  assert list(run.output_stems(names).values()) == stems


def test_a_list_or_an_image_is_taken_as_a_folder_is(tmp_path):
  folder = models.write_images(tmp_path / "images")

  def opened(path):
    source = inputs.open_images(path, tmp_path / "out")
    names = [source.name(number) for number in range(len(source))]
    return names, [source[number].image for number in range(len(source))]

  wide = (folder / "wide.jpg").read_bytes()
  assert opened(folder / "wide.jpg") == (["wide.jpg"], [wide])
  names = ["wide.jpg", "tall/<a> b.png"]
  path = folder / "list.TXT"
  lines = ["\ufeffwide.jpg", "", f" {folder}/tall/<a> b.png ", "./wide.jpg"]
  path.write_text("\r\n".join(lines))
  found, contents = opened(path)
  assert found == names and contents[0] == wide
  # From another folder: by the one that holds both.
  path = tmp_path / "elsewhere" / "list.txt"
  path.parent.mkdir()
  path.write_text(f"{folder}/wide.jpg\n{folder}/tall/<a> b.png\n")
  assert opened(path)[0] == names
  path.write_text("absent.jpg")
  with pytest.raises(images.ImageDecodeError, match="No such file"):
    opened(path)
  for text in ("\n \n", "a\0b"):
    path.write_text(text)
    with pytest.raises(ValueError, match="a path of an image a line"):
      opened(path)
  with pytest.raises(ValueError, match="is not there; give a folder"):
    opened(tmp_path / "none.txt")


def test_mistakes_in_the_request_are_named(tmp_path, folder):
  with pytest.raises(ValueError, match="no images"):
    inputs.open_images(tmp_path, tmp_path.parent / "out")
  for inner in (folder, folder / "out"):
    with pytest.raises(ValueError, match="lies in images="):
      inputs.open_images(folder, inner)
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="is a file; give a directory"):
    inputs.open_images(folder, tmp_path / "file")


def test_mistakes_in_options_are_all_named():
  def read_options(task, **given):
    return options.read_options(registry.definition(task), given)

  with pytest.raises(ValueError) as error:
    read_options("normal", boxes="b.json", radius="3")
  assert str(error.value).splitlines() == [
    "--boxes=b.json: task normal has no such option; it has --foreground",
    "--radius=3: task normal has no such option; it has --foreground",
  ]
  for given, wrong in (
    ({"threshold": "2"}, r"--threshold=2: must be in \[0, 1\]"),
    ({"threshold": "nan"}, "must be in"),
    ({"radius": "1.5"}, "expected int"),
    ({"thickness": "256"}, "must be 0 to 255"),
  ):
    with pytest.raises(ValueError, match=wrong):
      read_options("pose", **given)
  for color in ("1,2", "0,0,256", "-1,0,0"):
    with pytest.raises(ValueError, match="must be red,green,blue"):
      read_options("matting", background=color)
  with pytest.raises(ValueError, match="expected numbers"):
    read_options("matting", background="red")
  assert read_options("matting", background="1, 2,3")["background"] == (1, 2, 3)
  people = {"boxes": "", "detect": False}
  assert read_options("segmentation") == people


@pytest.mark.parametrize("task", ["normal", "pose"])
def test_eight_devices_give_what_one_gives(task, tmp_path, folder):
  found = {}
  for devices in (1, 8):
    place = tmp_path / str(devices)
    output, *_ = predict(task, place, folder, devices=devices)
    ((kind, ending, _),) = NUMBERS[task]
    values = read(output / kind / f"wide{ending}")
    if task == "pose":
      values = [person["keypoint_scores"] for person in values]
    found[devices] = np.asarray(values)
  np.testing.assert_allclose(found[8], found[1], atol=2e-3)


def test_people_are_where_a_model_of_parts_finds_parts(tmp_path, folder):
  parts, params = load_task(models.write_model(tmp_path / "m", "segmentation"))
  # Calls of one and of two images: each has its own foreground.
  spread = jit_spread(parts.predict, params, 1, jax.devices()[:1])
  given = parts.task, spread
  output, *_ = predict("normal", tmp_path, folder, parts=given)
  for name in models.SIZES:
    stem = os.path.splitext(name)[0]
    image = images.decode_image((folder / name).read_bytes())
    is_person = direct(parts, params, image, None) > 0
    assert 0 < is_person.mean() < 1
    normals = read(output / "normals" / f"{stem}.npy")
    np.testing.assert_array_equal(np.isnan(normals[..., 0]), ~is_person)
    assert not read(output / "predictions" / f"{stem}.png")[~is_person].any()


def test_options_of_two_tasks_are_of_one_type(monkeypatch):
  def task(name, default):
    class Own(Output):
      options = {"near": Field(default, "Of the near end.")}

    return types.SimpleNamespace(name=name, output=Own)

  tasks = [task("a", 1.0), task("b", 2.0), task("c", True)]
  monkeypatch.setattr(registry, "definitions", lambda: tasks[:2])
  field, names = options.all_options()["near"]
  assert field.default == 1.0 and names == ["a", "b"]
  monkeypatch.setattr(registry, "definitions", lambda: tasks)
  with pytest.raises(ValueError, match="task c: its option 'near' is of anoth"):
    options.all_options()


def test_all_keypoints_stand_in_one_file_of_the_release(tmp_path, folder):
  output, *_ = predict("pose", tmp_path, folder, threshold="0.25")
  found = json.loads((output / "out_predictions.json").read_text())
  assert list(found) == [
    "video",
    "image_size",
    "num_keypoints",
    "kpt_thr_used",
    "frames",
  ]
  names = sorted(models.SIZES)
  assert found["video"] == "out" and found["num_keypoints"] == 308
  assert found["image_size"] == list(models.SIZES[names[0]])
  assert found["kpt_thr_used"] == 0.25
  assert [frame["image_name"] for frame in found["frames"]] == names
  for frame in found["frames"]:
    stem = os.path.splitext(frame["image_name"])[0]
    assert frame["instances"] == read(output / "keypoints" / f"{stem}.json")


def test_people_are_in_boxes_or_detected_or_all_of_the_image(
  monkeypatch, tmp_path
):
  class Scorer:
    found = [10.0, 5.0, 40.0, 45.0, 60.0, 0.0, 100.0, 40.0]

    def load(self):
      pass

    def score(self, images, earlier):
      return [{"boxes": self.found} for _ in images]

  monkeypatch.setattr(people, "PersonScorer", Scorer)
  file = boxes_file(
    tmp_path / "boxes.json", {"image_id": 7, "bbox": [1, 2, 3, 4]}
  )
  chosen = {"boxes": str(file), "detect": True}
  find = people.People(chosen, ["wide.jpg", "other.jpg"])

  def found(name):
    labels = find(name, np.zeros((50, 120, 3), np.uint8))
    return [person.box for person in labels.people]

  assert found("wide.jpg") == [(2, 1, 4, 3)]
  assert found("other.jpg") == [(5, 10, 40, 30), (0, 60, 40, 40)]
  Scorer.found = []
  assert found("other.jpg") == [(0, 0, 49, 119)]
  assert find.summary() == (
    "3 in 2 images; nobody known in 1, each taken as one person"
  )
  assert not people.People({}, [], is_needed=False).summary()


COMMAND = """
import runpy
import sys
import tests.tiny
from sapiens2_jax.fields import Field
from sapiens2_jax.tasks import TaskDefinition, register_task
from sapiens2_jax.tasks.output import Output
if sys.argv[1:] == ["--clash=images"]:
  Own = type("Own", (Output,), {"options": {"images": Field("", "Own.")}})
  register_task(TaskDefinition(name="own", make=None, score=None, output=Own))
runpy.run_module("sapiens2_jax.predict", run_name="__main__")
"""


def command(**given):
  options = [f"--{name}={value}" for name, value in given.items()]
  return forking.run([sys.executable, "-c", COMMAND, *options], os.environ)


@pytest.mark.slow
def test_the_command_says_what_it_did(tmp_path, folder):
  model = models.write_model(tmp_path / "model", "albedo")
  output = tmp_path / "out"
  given = {"checkpoint": model, "output": output, "task": "albedo"}
  done = command(images=folder, rope_dtype="bfloat16", **given)
  assert done.returncode == 0, done.stderr
  assert "predicted  2 images" in done.stdout
  assert "left out   broken.jpg: not an image" in done.stderr
  page = (output / "index.html").read_text()
  check_page(page, output)
  assert "RoPE" in page and "bfloat16" in page
  bad = tmp_path / "bad"
  bad.mkdir()
  (bad / "x.png").write_bytes(b"")
  done = command(images=bad, **given)
  assert done.returncode == 1 and "empty file" in done.stderr
  for mistake in ({"task": "pose"}, {"radius": 3}):
    done = command(images=folder, **{**given, **mistake})
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    ((name, value),) = mistake.items()
    assert last.lstrip("-").startswith(f"{name}={value}: ")
  done = command(clash="images")
  assert done.returncode == 2
  assert "task own: its option 'images' has the name of a flag" in done.stderr

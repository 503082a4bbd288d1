"""Features of photographs, in Python and by the command."""

import copy
import json
import os
import pathlib
import re
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import sapiens2_jax
from sapiens2_jax.extraction import photographs
from sapiens2_jax.models import pixels
from tests import forking
from tests.interop import runs

ROOT = pathlib.Path(__file__).parents[2]
SIZE = (64, 48)  # of the run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return runs.write_run(tmp_path_factory.mktemp("weights") / "run")


@pytest.fixture(scope="module")
def pretrained(workdir):
  return sapiens2_jax.load_pretrained(workdir)


@pytest.fixture
def photos(photo_folder, encode, smooth_photo):
  """Seven good ones, one of them turned by its EXIF, and a bad one."""
  exif = Image.Exif()
  exif[0x0112] = 6
  photo = smooth_photo(50, 90, 9)
  (photo_folder / "0.JPG").write_bytes(encode(photo, "JPEG", exif=exif))
  (photo_folder / "bad.jpg").write_bytes(b"no image")
  return photo_folder


def names_of(folder):
  """Of the good ones, sorted."""
  found = [x.relative_to(folder) for x in folder.rglob("*") if x.is_file()]
  return sorted(str(name) for name in found if name.name != "bad.jpg")


def command(*arguments):
  line = [sys.executable, "-m", "sapiens2_jax.features", *map(str, arguments)]
  return forking.run(line, os.environ)


def test_the_command_writes_what_features_returns(
  tmp_path, workdir, pretrained, photos
):
  output, patches = tmp_path / "out" / "features.npz", tmp_path / "patches"
  done = command(
    *("--checkpoint", workdir, "--images", photos, "--fit=letterbox"),
    *("--output", output, "--patches", patches),
  )
  assert done.returncode == 0, done.stderr
  assert "left out   bad.jpg: not an image" in done.stderr
  assert f"[cls]      {output} (7 images x 192)" in done.stdout
  found = np.load(output)
  assert sorted(found) == ["about", "cls", "names", "sizes"]
  names = names_of(photos)
  assert found["names"].tolist() == names
  assert found["sizes"].tolist()[:2] == [[90, 50], [70, 93]]
  about = json.loads(str(found["about"]))
  assert about["checkpoint"] == f"{workdir}, step 3, teacher"
  assert about["image_size"] == list(SIZE) and about["fit"] == "letterbox"
  paths = [photos / name for name in names]
  expected = pretrained.features(paths, fit="letterbox")
  np.testing.assert_allclose(found["cls"], expected.cls, atol=1e-5)
  written = sorted(str(x.relative_to(patches)) for x in patches.rglob("*.npy"))
  assert written == [os.path.splitext(name)[0] + ".npy" for name in names]
  for name, values in zip(written, expected.patches):
    np.testing.assert_allclose(np.load(patches / name), values, atol=1e-5)


def test_the_command_names_mistakes_and_leaves_nothing(
  tmp_path, workdir, photos
):
  given = "--checkpoint", workdir, "--images", photos / "bad.jpg"
  output = tmp_path / "features.npz"
  for code, wrong, *more in (
    (1, "left out   bad.jpg", "--output", output),
    (2, "expected a file that ends in .npz", "--output", tmp_path / "out"),
    (2, "expected HEIGHTxWIDTH", "--output", output, "--image_size=9"),
    (2, "nothing can be written in", "--output", photos / "bad.jpg" / "a.npz"),
    (2, "is the file of --output", "--output", output, "--patches", output),
  ):
    done = command(*given, *more)
    assert done.returncode == code and wrong in done.stderr
  assert not output.exists()


def test_features_of_paths_are_those_of_the_encoder_alone(pretrained, photos):
  paths = [photos / name for name in names_of(photos)]
  found = pretrained.features(paths)
  encoder, params = pretrained
  encode = jax.jit(encoder.apply)
  assert found.cls.shape == (7, 192) and found.cls.dtype == np.float32
  assert np.ptp(found.cls, axis=0).max() > 0.5  # They differ.
  for path, cls, patches in zip(paths, found.cls, found.patches):
    image = sapiens2_jax.load_image(path, SIZE)
    out = encode({"params": params}, image[None])
    np.testing.assert_allclose(cls, out.cls[0], atol=1e-5)
    np.testing.assert_allclose(patches, out.patches[0], atol=1e-5)


def test_one_photograph_or_its_pixels_give_the_same(pretrained, photos):
  path = photos / "1.JPG"
  image = photographs.read_image(path)
  expected = pretrained.features([path, photos / "2.JPG"]).cls[:1]
  for given in (path, str(path), image, [image], image[None]):
    found = pretrained.features(given).cls
    np.testing.assert_allclose(found, expected, atol=1e-6)
  assert pretrained.features([]).cls.shape == (0, 192)


def test_a_copy_is_as_good(pretrained):
  assert copy.copy(pretrained).image_size == SIZE
  assert copy.copy(pretrained)[1] is pretrained.params


def test_letterboxed_patches_are_those_that_show_the_photograph(pretrained):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (40, 60, 3), np.uint8)  # two rows of patches
  found = pretrained.features(image, fit="letterbox")
  canvas = np.zeros((*SIZE, 3), np.uint8)
  small = Image.fromarray(image).resize((48, 32), Image.Resampling.BILINEAR)
  canvas[16:48] = small
  out = jax.jit(pretrained.encoder.apply)(
    {"params": pretrained.params}, pixels.from_uint8(canvas)[None]
  )
  np.testing.assert_allclose(found.cls, out.cls, atol=1e-5)
  (patches,) = found.patches
  np.testing.assert_allclose(patches, out.patches[0, 1:3], atol=1e-5)


def test_what_is_no_photograph_is_refused(pretrained, tmp_path):
  unit = np.random.default_rng(0).random((64, 48, 3), np.float32)
  with pytest.raises(ValueError, match="found float32 of shape.*0 to 255"):
    pretrained.features(unit)
  with pytest.raises(ValueError, match=r"uint8 of shape \(64, 48\)"):
    pretrained.features([np.zeros((64, 48), np.uint8)])
  with pytest.raises(ValueError, match=r"uint8 of shape \(64, 48\)"):
    pretrained.features(np.zeros((64, 48), np.uint8))
  with pytest.raises(ValueError, match=r"uint8 of shape \(0, 48, 3\)"):
    pretrained.features(np.zeros((0, 48, 3), np.uint8))
  photo = Image.new("RGB", (48, 64))
  for given in (photo, [photo]):
    with pytest.raises(ValueError, match="found Image; expected a path"):
      pretrained.features(given)
  with pytest.raises(ValueError, match=r"none\.jpg: cannot be read"):
    pretrained.features([tmp_path / "none.jpg"])
  with pytest.raises(ValueError, match="multiples of 16 pixels"):
    pretrained.features([tmp_path / "none.jpg"], size=(60, 48))


def test_features_that_are_not_finite_are_an_error(pretrained):
  broken = jax.tree.map(lambda x: x * np.nan, pretrained.params)
  broken = type(pretrained)(pretrained.encoder, broken, SIZE)
  with pytest.raises(ValueError, match="not finite"):
    broken.features(np.zeros((64, 48, 3), np.uint8))


@pytest.fixture
def newcomer(tmp_path, workdir, encode, smooth_photo, monkeypatch):
  """Runs Python of a page where there are a run and a photograph."""
  (tmp_path / "runs").mkdir()
  (tmp_path / "runs" / "quickstart").symlink_to(workdir)
  (tmp_path / "photo.jpg").write_bytes(encode(smooth_photo(300, 200), "JPEG"))
  monkeypatch.chdir(tmp_path)
  cls = np.array([[1, 0], [0.2, 1], [0, 1], [1, 0.1]], np.float32)
  np.savez("features.npz", names=np.array(list("abcd")), cls=cls)

  def run(text):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
      exec(block, names)
    return names

  return run


def test_the_lines_of_the_readme_work(newcomer):
  text = (ROOT / "README.md").read_text()
  section = text.split("## Features of photographs")[1].split("\n## ")[0]
  names = newcomer(section)
  out = names["out"]
  assert out.cls.shape == (1, 192) and out.patches.shape == (1, 8, 6, 192)


def test_the_lines_of_the_page_work(newcomer, capsys):
  names = newcomer((ROOT / "docs" / "features.md").read_text())
  assert capsys.readouterr().out == "['a' 'd' 'b' 'c']\n"
  assert names["found"].patches[0].shape == (16, 11, 192)

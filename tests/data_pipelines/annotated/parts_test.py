"""Segmentation lists: three taxonomies become 29 parts."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines.annotated import parts
from data_pipelines.common import images
from data_pipelines.vocabulary import parts as vocabulary
from tests.data_pipelines.annotated import made

SIZE = (9, 14)


def sample(name, session="s", camera="c", frame=0):
  return {
    **{"sample_id": name, "session_id": session},
    **{"camera_id": camera, "frame_number": frame},
  }


@pytest.fixture
def open_list(tmp_path):
  """open_list(samples, labels, taxonomy, name) -> source."""

  def write_and_open(samples, labels, taxonomy="dome34", name="list.json"):
    for number, entry in enumerate(samples):
      stem = entry.get("sample_id", "none")
      made.write_image(tmp_path / f"rgb/{stem}.jpg", SIZE, number)
      made.write_pixels(tmp_path / f"seg/{stem}.png", labels)
    return parts.PartsSource(
      made.write_json(tmp_path / name, samples),
      images=str(tmp_path / "rgb"),
      labels=str(tmp_path / "seg"),
      taxonomy=taxonomy,
    )

  return write_and_open


def all_labels(count=126):
  """Each of the labels 0 to 125 once."""
  return np.arange(count, dtype=np.uint8).reshape(SIZE)


@pytest.mark.parametrize("taxonomy", ["dome34", "dome52", "internal33"])
def test_labels_become_the_part_of_the_same_kind(open_list, taxonomy):
  found = made.labels_of(open_list([sample("a")], all_labels(), taxonomy))
  theirs = vocabulary()["source_taxonomies"][taxonomy]
  targets = theirs["target"]
  count = len(theirs["source_names"])
  assert found.parts.dtype == np.uint8
  assert found.parts.reshape(-1)[:count].tolist() == targets
  assert (found.parts.reshape(-1)[count:] == 255).all()
  assert found.alpha is None
  ours = vocabulary()["names"]
  for name, target in zip(theirs["source_names"], targets, strict=True):
    if name in ours:
      assert ours[target] == name


def test_our_own_labels_stay(open_list):
  found = made.labels_of(open_list([sample("a")], all_labels(), "sapiens29"))
  wanted = np.where(all_labels() < 29, all_labels(), 255)
  np.testing.assert_array_equal(found.parts, wanted)


def test_samples_are_sorted_as_text(open_list):
  keys = [("s", "b", 9), ("s", "b", 10), ("s", "a", 99), ("r", "z", 1)]
  samples = [sample(f"n{i}", *key) for i, key in enumerate(keys)]
  source = open_list(samples, all_labels())
  names = [source.name(i) for i in range(len(source))]
  assert names == ["n3.jpg", "n2.jpg", "n1.jpg", "n0.jpg"]


@pytest.mark.parametrize(
  ("name", "taxonomy", "is_wild"),
  [
    ("list.json", "dome52", 0),
    ("itw_list.json", "dome52", 1),
    ("list.json", "internal33", 1),
  ],
)
def test_data_taken_in_the_wild_are_marked(open_list, name, taxonomy, is_wild):
  source = open_list([sample("a")], all_labels(), taxonomy, name)
  assert source[0].scores == {"in_the_wild": is_wild}
  assert made.labels_of(source).get("in_the_wild").tolist() == [is_wild]


def test_a_palette_does_not_hide_the_labels(open_list, tmp_path):
  source = open_list([sample("a")], all_labels())
  image = Image.fromarray(all_labels())
  image.putpalette(bytes(range(255, -1, -1)) * 3)
  wanted = made.labels_of(source).parts
  image.save(tmp_path / "seg/a.png")
  np.testing.assert_array_equal(made.labels_of(source).parts, wanted)


def test_labels_of_16_bits_are_read(open_list):
  labels = all_labels().astype(np.uint16)
  labels[0, 1] = 256 + 6
  found = made.labels_of(open_list([sample("a")], labels)).parts
  assert found[0, 1] == 255 and found[0, 6] == 4


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    (np.zeros(SIZE, np.uint8), "nobody in it"),
    (np.full(SIZE, 7, np.uint8), "nobody in it"),  # A headset: ignored.
    (np.zeros((*SIZE, 3), np.uint8), "a.png: RGB pixels, expected one channel"),
    (all_labels().T, r"parts is \(14, 9\), the upright image \(9, 14\)"),
  ],
)
def test_labels_of_no_use_are_named(open_list, labels, message):
  source = open_list([sample("a")], labels)
  with pytest.raises(images.ImageDecodeError, match=message):
    source[0]


def test_a_file_that_is_no_picture_is_named(open_list, tmp_path):
  source = open_list([sample("a")], all_labels())
  (tmp_path / "seg/a.png").write_bytes(b"nothing")
  with pytest.raises(images.ImageDecodeError, match="a.png: no picture of PNG"):
    source[0]


@pytest.mark.parametrize(
  ("samples", "taxonomy", "message"),
  [
    ([sample("a")], "dome35", "'dome35'; expected one of dome34, dome52, int"),
    ([sample("a"), sample("a")], "dome34", "sample a is there twice"),
    ([{"sample_id": 1}], "dome34", "3 problems\n.*session_id is missing"),
    ([sample("a", session=[])], "dome34", "session_id is missing, or no num"),
  ],
)
def test_other_lists_are_refused(open_list, samples, taxonomy, message):
  with pytest.raises(ValueError, match=message):
    open_list(samples, all_labels(), taxonomy)


def test_an_image_or_a_label_without_the_other_is_named(open_list, tmp_path):
  open_list([sample("a"), sample("b")], all_labels())
  (tmp_path / "seg/a.png").unlink()
  with pytest.raises(ValueError, match="1 problem\n  a: no file of .*/seg"):
    parts.PartsSource(
      str(tmp_path / "list.json"),
      images=str(tmp_path / "rgb"),
      labels=str(tmp_path / "seg"),
      taxonomy="dome34",
    )

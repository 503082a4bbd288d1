"""The reader of COCO files on photographs of people, out of labelme's sdist.

Its three photographs (of PASCAL VOC) have outlines of people and no keypoints;
each person gets one here, so that there is something to read.
"""

import json
import pathlib

import numpy as np
import pytest

from data_pipelines.annotated import coco
from data_pipelines.common import images
from data_pipelines.curation.photographs import fetching, labels
from tests.data_pipelines.annotated import made

pytestmark = pytest.mark.slow
_FOLDER = "labelme-5.11.4/examples/instance_segmentation/data_dataset_coco/"
_SUMS = {
  "annotations.json": (
    "935081d34679b92a74e0dc1acf04e5ac97b01cba7eefe26d5572e761ebf16ec2"
  ),
  "JPEGImages/2011_000003.jpg": (
    "40c7f2fbf740c7e9707f97047a83593f6c36d8951a737b4287528932d809e80d"
  ),
  "JPEGImages/2011_000006.jpg": (
    "9f58b8e4aca7f0411d3c8fe365da1ba5de9c36c729bda2f32cefbbb246ef1e1f"
  ),
  "JPEGImages/2011_000025.jpg": (
    "52794c29522d495c942baf7d41823b91479ec55723bcc72d6080540831701b82"
  ),
}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """Their COCO file and photographs; skips where they cannot be had."""
  root = fetching.find_root()
  wanted = {
    name: labels.Labelled(
      *("labelme==5.11.4", "pypi-sdist", "test", _FOLDER + name),
      *(labels.PERSON, digest),
    )
    for name, digest in _SUMS.items()
  }
  try:
    fetching.fetch(root, wanted.values())
  except ValueError as error:
    pytest.skip(str(error))
  (tmp_path / "JPEGImages").mkdir()
  for name, digest in _SUMS.items():
    (tmp_path / name).symlink_to(root / digest)
  return tmp_path


def test_outlines_without_keypoints_are_refused_and_counted(folder):
  with pytest.raises(ValueError, match="none of 12 annotations is a person"):
    coco.CocoSource(str(folder / "annotations.json"), images=str(folder))


def test_people_lie_where_their_outlines_are(folder):
  found = json.loads((folder / "annotations.json").read_bytes())
  outlines = {}
  for entry in found["annotations"]:
    points = np.concatenate(entry["segmentation"]).reshape(-1, 2)
    top = points[points[:, 1].argmin()]  # Of a person the head.
    entry["keypoints"] = [*top.tolist(), 2, *[0] * 48]
    if entry["category_id"] == 15:  # A person.
      outlines.setdefault(entry["image_id"], []).append(points)
  path = made.write_json(folder / "people.json", found)
  source = coco.CocoSource(path, images=str(folder))
  assert len(source) == 2 and "1 without people" in " ".join(source.notes)
  names = {entry["id"]: entry["file_name"] for entry in found["images"]}
  for number, (image, people) in enumerate(outlines.items()):
    record = source[number]
    assert record.name == names[image]
    pixels = images.decode_image(record.image)
    assert pixels.shape == (record.height, record.width, 3)
    assert pixels.std() > 30  # A photograph, not an empty picture.
    read = made.labels_of(source, number).people
    assert len(read) == len(people) == {0: 2, 2: 4}[image]
    areas = [person.box[2] * person.box[3] for person in read]
    assert areas == sorted(areas, reverse=True)
    for points in people:
      left, top = points.min(axis=0)
      right, bottom = points.max(axis=0)
      wanted = (top, left, bottom - top, right - left)
      gaps = [np.abs(np.subtract(p.box, wanted)).max() for p in read]
      person = read[int(np.argmin(gaps))]
      assert min(gaps) < 2
      x, y, seen = person.keypoints[0]
      assert seen == 2 and left <= x <= right and abs(y - top) < 1e-3

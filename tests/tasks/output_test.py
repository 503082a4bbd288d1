"""Pictures and numbers of predictions, as a user chooses them."""

import io

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax import tasks
from sapiens2_jax.prediction import inputs
from sapiens2_jax.tasks.albedo.task import Albedo
from sapiens2_jax.tasks.pointmap.task import Points
from tests.prediction.models import make_output
from tests.tasks import samples


def ball():
  image, labels = samples.ball()
  return image, labels, Labels(alpha=labels.alpha), labels.mask


def npy(data):
  return np.load(io.BytesIO(data))


def test_nothing_is_said_of_what_is_no_person():
  image, labels, known, mask = ball()
  output = make_output("normal", samples.make_task("normal"))
  files = output.encode(image, labels.normal, known)
  normals = npy(files["normals", ".npy"])
  assert np.isnan(normals[~mask]).all() and np.isfinite(normals[mask]).all()
  picture = output.draw(image, labels.normal, known)
  assert not picture[~mask].any() and picture[mask].any(axis=-1).all()
  # Without a model of parts, all is left as it is.
  free = output.encode(image, labels.normal, Labels())
  np.testing.assert_array_equal(
    npy(free["normals", ".npy"]), labels.normal.astype(np.float16)
  )
  output = make_output("albedo", samples.make_task("albedo"))
  colors = labels.albedo / np.float32(255)
  picture = output.draw(image, Albedo(colors, colors), known)
  assert (picture[~mask] == 100).all()
  np.testing.assert_allclose(picture[mask], labels.albedo[mask], atol=1)


def points_of(labels, factor=1.0):
  points = (labels.pointmap() * factor).astype(np.float32)
  points[~labels.mask] = 50  # A wall that nobody has learned.
  return Points(points, points, 1.0)


def test_pointmaps_of_a_folder_share_a_scale_of_colours():
  image, labels, known, mask = ball()
  output = make_output("pointmap", samples.make_task("pointmap"), ply=True)
  near, far = (
    output.encode(image, points_of(labels, factor), known)
    for factor in (1.0, 1.5)
  )
  depth = npy(near["depth", ".npy"])
  assert np.isnan(depth[~mask]).all()
  assert np.isnan(npy(near["pointmaps", ".npy"])[~mask]).all()
  pictures = [output.draw_last(files) for files in (near, far)]
  bright = [picture[mask].sum(axis=-1).mean() for picture in pictures]
  assert bright[0] > bright[1] + 100
  assert (pictures[0][~mask] == 100).all()
  alone = make_output("pointmap", samples.make_task("pointmap"))
  alone.encode(image, points_of(labels, 1.5), known)
  darker = alone.draw_last(far)[mask].sum(axis=-1).mean()
  assert darker > bright[1] + 100
  low, high = np.percentile(labels.depth[mask], (1, 99)) * (1.0, 1.5)
  assert output.facts()[0][1] == f"{low:.2f} to {high:.2f} m"
  # Nobody in it: no bounds, all grey.
  nobody = Labels(alpha=np.zeros_like(known.alpha))
  empty = make_output("pointmap", samples.make_task("pointmap"))
  files = empty.encode(image, points_of(labels), nobody)
  assert (empty.draw_last(files) == 100).all() and not empty.facts()


def test_ply_holds_people_in_their_colours():
  image, labels, known, mask = ball()
  output = make_output("pointmap", samples.make_task("pointmap"), ply=True)
  points = points_of(labels)
  data = output.encode(image, points, known)["pointmaps", ".ply"]
  header, _, body = data.partition(b"end_header\n")
  lines = header.decode().splitlines()
  assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
  assert f"element vertex {mask.sum()}" in lines
  names = [line.split()[1:] for line in lines if line.startswith("property")]
  types = {"float": "<f4", "uchar": "u1"}
  vertices = np.frombuffer(body, [(name, types[kind]) for kind, name in names])
  place = np.stack([vertices[name] for name in "xyz"], axis=-1)
  np.testing.assert_array_equal(place, points.points[mask])
  color = np.stack([vertices[c] for c in ("red", "green", "blue")], axis=-1)
  np.testing.assert_array_equal(color, image[mask])


def test_a_matte_is_laid_over_the_colour_that_is_asked_for():
  task = samples.make_task("matting")
  matte = np.zeros((2, 3, 4), np.float32)
  matte[0] = 0.5, 0.25, 0, 1
  matte[1] = 0.1, 0.1, 0.1, 0.5
  image = np.zeros((2, 3, 3), np.uint8)
  output = make_output("matting", task, background="0,177,64")
  picture = output.draw(image, matte, Labels())
  np.testing.assert_array_equal(picture[0, 0], [127, 63, 0])
  np.testing.assert_array_equal(picture[1, 0], [25, 114, 57])
  alpha = npy(output.encode(image, matte, Labels())["mattes", "_alpha.npy"])
  np.testing.assert_array_equal(alpha, matte[..., 3])
  plain = make_output("matting", task).draw(image, matte, Labels())
  np.testing.assert_array_equal(plain, task.draw(image, matte))


def test_keypoints_are_drawn_as_asked_for():
  image = np.zeros((100, 80, 3), np.uint8)
  people = np.full((1, 308, 3), 40, np.float32)
  people[..., 2] = 0.1
  people[0, 0] = 20, 30, 0.6
  known = inputs.whole_image(image.shape[:2])
  config = samples.load_config("pose")
  config.head.upsample_channels = (12, 8)
  task = tasks.make_task(config)

  def reach(**given):
    picture = make_output("pose", task, **given).draw(image, people, known)
    return np.argwhere(picture.any(axis=-1))

  assert not len(reach(threshold="0.7"))
  few, many = reach(), reach(threshold="0.1")
  assert len(few) and few.max(axis=0)[0] < 35 and len(many) > len(few)
  assert np.ptp(reach(radius="9")[:, 0]) in (18, 19, 20)
  # A link from the nose to the left eye, as thick as it is asked for.
  people[0, 1] = 60, 30, 0.6
  assert len(reach(thickness="9")) > len(reach(thickness="3")) > len(reach())

import io
import os
import socket

import numpy as np
import pytest
from PIL import Image

from data_pipelines import build_corpus, sources
from data_pipelines.common import images, kinds, tars
from data_pipelines.corpus import manifest as manifests
from data_pipelines.curation import pool
from tests.data_pipelines import corpora

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def encode(kind):
  buffer = io.BytesIO()
  pixels = np.zeros((20, 30, 3), np.uint8)
  Image.fromarray(pixels).save(buffer, kind)
  return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_file_without_an_ending_is_told_by_its_first_bytes(kind):
  head = encode(kind)[: kinds.HEAD]
  assert images.sniff(head) == kind
  assert kinds.find_other("a.b/c", lambda: head) is None


def test_avif_is_told_and_read_where_pillow_can():
  if "AVIF" not in images.FORMATS:
    pytest.skip("this Pillow was built without AVIF")
  data = encode("AVIF")
  assert images.sniff(data[: kinds.HEAD]) == "AVIF"
  assert images.decode_image(data).shape == (20, 30, 3)
  assert kinds.find_other("a.AVIF", None) is None


def test_heic_is_read_with_its_extra():
  pillow_heif = pytest.importorskip("pillow_heif", reason="extra heif")
  photo = Image.fromarray(np.full((64, 48, 3), (200, 30, 60), np.uint8))
  buffer = io.BytesIO()
  pillow_heif.from_pillow(photo).save(buffer, quality=90)
  assert images.sniff(buffer.getvalue()[: kinds.HEAD]) == "HEIF"
  found = images.decode_image(buffer.getvalue())
  assert found.shape == (64, 48, 3)
  assert np.abs(found.astype(int) - np.asarray(photo)).max() < 12


@pytest.fixture
def no_heif(monkeypatch):
  formats = tuple(kind for kind in images.FORMATS if kind != "HEIF")
  monkeypatch.setattr(images, "FORMATS", formats)


def test_heic_says_what_to_install(no_heif):
  wanted = "HEIC: pip install pillow-heif"
  assert kinds.find_other("IMG_1.HEIC", None) == wanted
  assert kinds.find_other("IMG_1", lambda: HEIC) == wanted
  with pytest.raises(images.ImageDecodeError) as caught:
    images.decode_image(HEIC)  # As some phones do, in a file IMG_1.jpg.
  assert caught.value.reason == wanted


@pytest.mark.parametrize(
  "name, wanted",
  [
    ("a/b.JPeG", None),
    ("x.tiff", None),
    ("scan.jfif", None),
    ("a.jpg.part", ".part"),
    ("a.json", ""),
    ("clip.MOV", ".mov"),
    ("photo.d41d8cd98f00b204e9800998ecf8427e", "of unknown endings"),
    ("photos/", "link to a folder"),
  ],
)
def test_kinds_are_told_by_the_ending(name, wanted):
  assert kinds.find_other(name, None) == wanted


def test_kinds_are_counted_with_an_example_each():
  left_out = kinds.LeftOut()
  for name in ("a.mov", "b\n.txt", "c.mov"):
    left_out.add(kinds.split(name)[1], name)
  other = kinds.LeftOut(left_out.counts)
  other.update(left_out)
  assert left_out.describe() == "2 .mov (a.mov), 1 .txt (b\\n.txt)"
  assert other.describe() == "4 .mov (a.mov), 2 .txt (b\\n.txt)"


def test_many_kinds_stay_one_short_line():
  left_out = kinds.LeftOut()
  for number in range(1000):
    left_out.add(f".{number}", f"a.{number}")
  assert len(left_out.counts) == 51
  assert left_out.describe().startswith("950 of other kinds (a.50), 1 .0 (a.0)")
  assert left_out.describe().endswith("46 of 46 more kinds")


@pytest.fixture
def phone(tmp_path, no_heif):
  """A folder as a phone leaves it."""
  folder = tmp_path / "phone"
  folder.mkdir()
  for number in range(5):
    (folder / f"IMG_{number}.HEIC").write_bytes(HEIC)
  for name in ("IMG_10.JPG", "scan.jfif", "noending"):
    (folder / name).write_bytes(encode("JPEG"))
  (folder / "README").write_text("what it is")
  (folder / "clip.mov").write_bytes(b"-")
  (folder / "more").symlink_to(tmp_path)
  (folder / "loop").symlink_to("loop")
  os.mkfifo(folder / "fifo")
  return folder


TAKEN = ["IMG_10.JPG", "noending", "scan.jfif"]
LEFT_OUT = (
  "left out 5 HEIC: pip install pillow-heif (IMG_0.HEIC), 2 "
  "unreadable without an ending (fifo), 1 without an ending (README), 1 .mov "
  "(clip.mov), 1 link to a folder (more/)"
)


def test_a_folder_takes_or_names_every_file(phone, capsys):
  source = sources.FolderSource(phone)
  assert [source.name(i) for i in range(len(source))] == TAKEN
  assert all(record.width == 30 for record in corpora.read_all(source))
  assert capsys.readouterr().err == f"{phone}: {LEFT_OUT}\n"


def test_a_build_takes_or_names_every_file(phone, tmp_path, capsys):
  manifest, _ = build_corpus.build_corpus([phone], tmp_path / "corpus")
  assert f"inputs: {LEFT_OUT}\n" in capsys.readouterr().err
  assert manifest["num_records"] == 1 and manifest["duplicates"]["count"] == 2
  assert sum(manifest["left_out"].values()) == 10
  summary = manifests.summarize(manifest)
  assert "left out 5 HEIC: pip install" in summary


def test_a_pool_takes_or_names_every_file(phone, tmp_path, capsys):
  (tmp_path / "lists").mkdir()
  (shard,) = pool.open_pool([phone], tmp_path / "lists", 10).shards
  rows = pool.open_shard(shard)
  assert [rows.name(row) for row in range(len(rows))] == TAKEN
  assert LEFT_OUT in capsys.readouterr().err


def test_a_tar_takes_or_names_every_file(tmp_path, no_heif, capsys):
  photo = encode("JPEG")
  dotted = ["IMG.2023.01.05.jpg", "IMG.2023.01.06.jpg", "a.person v2.0.jpg"]
  files = {
    **dict.fromkeys(["plain.jpg", "scan.final.png", *dotted, "none"], photo),
    **dict.fromkeys(["1.rgb.png", "1.mask.png", "2.mask.png"], photo),
    **dict.fromkeys(["3.jpg", "3.mask.png", "3.txt"], photo),
    "IMG_1.heic": HEIC,
  }
  path = tmp_path / "a.tar"
  path.write_bytes(corpora.make_tar(files))
  left_out = kinds.LeftOut()
  found = [image.name for image, _ in tars.list_images(path, left_out)]
  wanted = ["plain.jpg", "scan.final.png", *dotted, "none", "3.jpg"]
  assert found == wanted
  counts = {kind: count for kind, (count, _) in left_out.counts.items()}
  assert counts == {
    ".rgb.png of samples": 1,
    ".mask.png of samples": 3,
    ".txt": 1,
    "HEIC: pip install pillow-heif": 1,
  }
  assert len(sources.TarSource([str(path)])) == len(wanted)
  assert "1 tars: left out 3 .mask.png of samples (1.mask.png)" in (
    capsys.readouterr().err
  )


def test_notes_of_a_dotted_name_are_found(tmp_path):
  names = ["a.1.2.jpg", "a.1.2.json", "a.1.3.jpg", "b.png", "b.json"]
  path = tmp_path / "a.tar"
  path.write_bytes(corpora.make_tar(dict.fromkeys(names, b"x")))
  found = [
    (image.name, known and known.name)
    for image, known in tars.list_images(path)
  ]
  assert found == [
    ("a.1.2.jpg", "a.1.2.json"),
    ("a.1.3.jpg", None),
    ("b.png", "b.json"),
  ]


def test_what_is_no_file_is_an_image_error_in_a_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # The path of a socket must be short.
  os.mkfifo("a.jpg")
  os.symlink("b.jpg", "b.jpg")
  os.symlink("/dev/zero", "c.jpg")
  opened = socket.socket(socket.AF_UNIX)
  opened.bind("d.jpg")
  os.symlink("nowhere", "e.jpg")
  source = sources.FolderSource(tmp_path)
  found = []
  for index in range(len(source)):
    with pytest.raises(images.ImageDecodeError) as caught:
      source[index]
    assert caught.value.reason == "cannot be read"
    found.append(caught.value.detail)
  opened.close()
  assert found == [
    "a FIFO",
    "Too many levels of symbolic links",
    "a device",
    "a socket",
    "No such file or directory",
  ]

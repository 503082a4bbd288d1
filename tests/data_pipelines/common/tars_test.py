import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.common import tars
from tests.data_pipelines import corpora


def pairs(path):
  """[(image's name, name of its .json or None)]"""
  return [
    (image.name, metadata and metadata.name)
    for image, metadata in tars.list_images(path)
  ]


@pytest.fixture
def tar(tmp_path):
  """tar(files or bytes) -> path of a tar."""

  def write(content):
    if not isinstance(content, bytes):
      content = corpora.make_tar(content)
    path = tmp_path / "some.tar"
    path.write_bytes(content)
    return path

  return write


def test_members_are_where_they_are_said_to_be(tar):
  files = {"a.jpg": b"first", "b/c.json": b"", "d.png": b"x" * 5000}
  path = tar(files)
  data = path.read_bytes()
  found = list(tars.list_members(path))
  assert {
    member.name: data[member.start : member.start + member.size]
    for member in found
  } == files
  assert [member.name for member in found] == list(files)


def test_an_image_is_paired_with_the_notes_of_its_sample_only(tar):
  names = [
    *("a/1.json", "a/1.jpg"),
    *("a/2.jpg", "a/2.cls"),
    *("b/2.jpg", "b/2.json"),
    *("3.json", "4.png"),
    *("1.jpg", "a/1.json"),  # Not neighbours of their likes: new samples.
  ]
  assert pairs(tar(dict.fromkeys(names[:-1], b"")))[0] == (
    "a/1.jpg",
    "a/1.json",
  )
  assert pairs(tar(dict.fromkeys(names, b""))) == [
    ("a/1.jpg", "a/1.json"),
    ("a/2.jpg", None),
    ("b/2.jpg", "b/2.json"),
    ("4.png", None),
    ("1.jpg", None),
  ]


def test_only_the_plain_extension_is_the_image(tar):
  names = ["1.JPG", "1.mask.png", "1.json", "2.seg.json", "2.webp", "3.txt"]
  assert pairs(tar(dict.fromkeys(names, b""))) == [
    ("1.JPG", "1.json"),
    ("2.webp", None),
  ]


def test_hidden_files_and_all_that_is_no_file_are_left_out(tmp_path):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as opened:
    for name in ("./a.jpg", ".b.jpg", "x/.y/c.jpg", "._d.jpg"):
      opened.addfile(tarfile.TarInfo(name))
    for name, kind in (("e.jpg", tarfile.DIRTYPE), ("f.jpg", tarfile.SYMTYPE)):
      member = tarfile.TarInfo(name)
      member.type = kind
      opened.addfile(member)
  (tmp_path / "t.tar").write_bytes(buffer.getvalue())
  assert pairs(tmp_path / "t.tar") == [("./a.jpg", None)]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_whole(tmp_path, format):
  names = ["d" * 90 + "/" + "é" * 60 + str(n) + ".jpg" for n in range(3)]
  data = corpora.make_tar(dict.fromkeys(names, b"image"), format)
  (tmp_path / "t.tar").write_bytes(data)
  assert pairs(tmp_path / "t.tar") == [(name, None) for name in names]


def test_a_name_that_is_no_utf8_keeps_its_bytes(tar):
  name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
  (found,) = tars.list_members(tar({name: b"image"}))
  assert found.name.encode("utf-8", "surrogateescape") == b"caf\xe9.jpg"


def test_a_tar_of_nothing_is_empty(tar):
  assert pairs(tar({})) == []


@pytest.mark.parametrize(
  "content, message",
  [
    (b"", "empty file"),
    (b"not a tar at all" * 100, "some.tar: .*uncompressed tar"),
    (gzip.compress(corpora.make_tar({"a.jpg": b""})), "uncompressed tar"),
  ],
  ids=["empty", "text", "gzip"],
)
def test_what_is_no_uncompressed_tar_is_refused(tar, content, message):
  with pytest.raises(tars.TarError, match=message):
    list(tars.list_members(tar(content)))


_FILES = {"a.jpg": b"1" * 700, "b.jpg": b"2" * 100, "c" * 120: b"3" * 1024}
_WHOLE = corpora.make_tar(_FILES)
_END = -(-len(_WHOLE.rstrip(b"\0")) // 512) * 512  # Of the last member.


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(_WHOLE) - 1))
def test_a_tar_cut_off_anywhere_is_noticed(tmp_path_factory, size):
  path = tmp_path_factory.getbasetemp() / "cut.tar"
  path.write_bytes(_WHOLE[:size])
  if size >= _END + 512:  # The end mark is there; only padding is missing.
    assert len(list(tars.list_members(path))) == len(_FILES)
    return
  with pytest.raises(tars.TarError, match="cut.tar"):
    list(tars.list_members(path))


def test_a_broken_header_is_not_taken_for_the_end(tar):
  data = bytearray(_WHOLE)
  second = data.index(b"b.jpg")
  data[second + 150] ^= 1  # Within the checksum.
  with pytest.raises(tars.TarError, match="no end mark"):
    list(tars.list_members(tar(bytes(data))))


def test_a_missing_tar_is_an_os_error(tmp_path):
  with pytest.raises(FileNotFoundError):
    list(tars.list_members(tmp_path / "none.tar"))


_PHOTOS = {f"{n}.jpg": bytes([n]) * 20_000 for n in range(1, 4)}


@pytest.mark.parametrize("name", ["2.jpg", "3.jpg"])
@pytest.mark.parametrize("all_behind", [False, True])
def test_a_zeroed_header_is_not_taken_for_the_end(tar, name, all_behind):
  data = bytearray(corpora.make_tar(_PHOTOS))
  start = data.index(name.encode())
  end = len(data) if all_behind else start + 512
  data[start:end] = bytes(end - start)
  message = f"it ends at byte {start}, but the file goes on"
  with pytest.raises(tars.TarError, match=message):
    pairs(tar(bytes(data)))


def test_a_tar_behind_a_tar_is_not_lost_in_silence(tar):
  data = corpora.make_tar({"a.jpg": b""})[: 3 * 512]
  with pytest.raises(tars.TarError, match="something lies behind"):
    pairs(tar(data + corpora.make_tar({"b.jpg": b""})[: 3 * 512]))


@pytest.mark.parametrize("size", ["-1024", "99999999", "9" * 40, "1e3", "x"])
def test_a_size_that_cannot_be_is_named(tar, size):
  """A negative one would be read for ever."""
  member = tarfile.TarInfo("a.jpg")
  member.pax_headers = {"size": size}
  buffer = io.BytesIO()
  with tarfile.open(
    fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT
  ) as opened:
    opened.addfile(member)
    opened.addfile(tarfile.TarInfo("b.jpg"))
  try:
    found = pairs(tar(buffer.getvalue()))
  except tars.TarError:
    return
  # What is no number is no size.
  assert size in ("1e3", "x") and found == [("a.jpg", None), ("b.jpg", None)]

"""The archive of faces: what is taken out of it, and when it is refused."""

import io
import tarfile

import pytest

from data_pipelines.common import checksums
from data_pipelines.faces import fetching


@pytest.fixture
def archive(tmp_path, monkeypatch):
  """write(without="") -> an archive that is taken for the real one."""

  def write(without: str = ""):
    path = tmp_path / fetching.ARCHIVE
    with tarfile.open(path, "w:bz2") as opened:
      for name in (*fetching._KEPT, "examples/faces/dogs.jpg", "dlib/x.h"):
        if name != without:
          entry = tarfile.TarInfo(fetching._TOP + name)
          entry.size = len(name)
          opened.addfile(entry, io.BytesIO(name.encode()))
    monkeypatch.setattr(fetching, "SHA256", checksums.sha256(path))
    return path

  return write


def refuse(directory):
  raise RuntimeError("E: Unable to locate package")


def test_only_what_is_needed_is_kept_and_later_calls_fetch_nothing(
  tmp_path, archive
):
  path, root = archive(), tmp_path / "faces"
  place = fetching.find_faces(root, fetch=lambda directory: path)
  names = {path.name for path in place.iterdir()}
  assert {fetching.TRAIN, fetching.TEST, fetching.LICENCE} <= names
  assert len(names) == 12 and "dogs.jpg" not in names
  assert [path.name for path in root.iterdir()] == [place.name]
  assert fetching.find_faces(root, fetch=refuse) == place
  terms = fetching.read_terms(place)
  assert "VOC 2011" in terms and terms.endswith(f"examples/{fetching.LICENCE}")


def test_an_archive_that_was_put_there_by_hand_is_taken(tmp_path, archive):
  archive()
  assert (fetching.find_faces(tmp_path, fetch=refuse) / fetching.TEST).exists()


def test_another_archive_is_refused_with_both_sums(tmp_path, archive):
  path = archive()
  path.write_bytes(path.read_bytes() + b"more")
  found = checksums.sha256(path)
  message = f"{path}.*{found}, expected {fetching.SHA256}"
  root = tmp_path / "faces"
  with pytest.raises(ValueError, match=message.replace("+", r"\+")):
    fetching.find_faces(root, fetch=lambda directory: path)
  assert not list(root.iterdir())


@pytest.mark.parametrize("name", ["examples/faces/2008_001322.jpg"])
def test_an_archive_that_lacks_a_file_leaves_nothing(tmp_path, archive, name):
  path, root = archive(without=name), tmp_path / "faces"
  with pytest.raises(ValueError, match=f"there is no .*{name}"):
    fetching.find_faces(root, fetch=lambda directory: path)
  assert not list(root.iterdir())


def test_where_apt_cannot_fetch_it_the_message_says_what_to_do(tmp_path):
  with pytest.raises(ValueError, match=r"E: Unable.*put that file into "):
    fetching.find_faces(tmp_path, fetch=refuse)
  assert not list(tmp_path.iterdir())

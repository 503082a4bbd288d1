import io
import os
import pathlib
import tempfile

import fsspec
import pytest
from fsspec.implementations import memory
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.common import storage

# Signs around "/" in the alphabet, where a wrong order would show.
PARTS = st.text("ab.-0/é", min_size=1, max_size=6).map(
  lambda text: text.replace("/", "0") + "x"
)
TREES = st.lists(
  st.lists(PARTS, min_size=1, max_size=4).map("/".join), max_size=12
)


def visible(names):
  return sorted(
    name
    for name in names
    if not any(part.startswith(".") for part in name.split("/"))
  )


def write_tree(directory, names):
  """Writes what a file system can hold of the names; returns that."""
  written = []
  for name in names:
    path = pathlib.Path(directory, name)
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      if not path.is_dir():
        path.write_bytes(name.encode())
        written.append(name)
    except (FileExistsError, NotADirectoryError):
      pass
  return set(written)


@pytest.fixture
def bucket():
  """memory://bucket, empty: a bucket that is not Google's."""
  files = fsspec.filesystem("memory")
  files.store.clear()
  yield files
  files.store.clear()


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_a_listing_is_all_whole_paths_sorted(names):
  with tempfile.TemporaryDirectory() as directory:
    names = write_tree(directory, names)
    assert list(storage.list_files(directory)) == visible(names)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_a_bucket_lists_as_the_same_files_on_a_disk_do(names):
  files = fsspec.filesystem("memory")
  files.store.clear()
  with tempfile.TemporaryDirectory() as directory:
    names = write_tree(directory, [*names, "one"])
    for name in names:
      files.pipe_file(f"/bucket/{name}", name.encode())
    listed = list(storage.list_files("memory://bucket"))
    assert listed == list(storage.list_files(directory))


def test_hidden_files_are_left_out_and_linked_directories_not_entered(tmp_path):
  tree = tmp_path / "tree"
  write_tree(tree, ["a", ".a", "b/.c/d", "b/c", ".b/c"])
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "file").touch()
  (tree / "linked_directory").symlink_to(tmp_path / "other")
  (tree / "linked_file").symlink_to(tmp_path / "other" / "file")
  (tree / "broken").symlink_to(tmp_path / "nowhere")
  assert list(storage.list_files(tree)) == [
    *("a", "b/c", "broken", "linked_directory/", "linked_file")
  ]


def test_a_listing_holds_one_directory_at_a_time(tmp_path, monkeypatch):
  write_tree(tmp_path, ["a/x", "b/x", "c/x"])
  scanned = []
  scandir = os.scandir
  monkeypatch.setattr(
    os, "scandir", lambda path: scanned.append(path) or scandir(path)
  )
  listed = storage.list_files(tmp_path)
  assert next(listed) == "a/x" and len(scanned) == 2
  assert list(listed) == ["b/x", "c/x"] and len(scanned) == 4


@pytest.fixture(params=["disk", "bucket"])
def directory(request, tmp_path, bucket):
  """A directory with one/file (b"0123456789") and one/two/file."""
  for name in ("one/file", "one/two/file"):
    if request.param == "disk":
      write_tree(tmp_path, [name])
      (tmp_path / name).write_bytes(b"0123456789")
    else:
      bucket.pipe_file(f"/directory/{name}", b"0123456789")
  return str(tmp_path) if request.param == "disk" else "memory://directory"


def test_a_file_is_read_whole_in_part_and_in_steps(directory):
  path = storage.join(directory, "one", "file")
  assert storage.read_bytes(path) == b"0123456789"
  assert storage.read_bytes(path, 3, 4) == b"3456"
  assert storage.read_bytes(path, 8, 4) == b"89"
  assert storage.read_bytes(path, 3, 0) == b""
  with storage.open_file(path) as file:
    file.seek(4)
    assert (file.read(2), file.tell(), file.read()) == (b"45", 6, b"6789")


def test_files_directories_and_nothing_are_told_apart(directory):
  wanted = {"one": (True, True), "one/file": (True, False), "x": (False, False)}
  for name, answers in wanted.items():
    path = storage.join(directory, name)
    assert (storage.exists(path), storage.is_directory(path)) == answers
  assert storage.list_sizes(storage.join(directory, "one")) == {"file": 10}


def test_what_is_missing_is_an_os_error(directory):
  path = storage.join(directory, "nowhere")
  for read in (
    storage.read_bytes,
    storage.list_sizes,
    lambda path: storage.read_bytes(path, 0, 1),
    lambda path: list(storage.list_files(path)),
    lambda path: storage.open_file(path).__enter__(),
  ):
    with pytest.raises(FileNotFoundError):
      read(path)


def test_a_pattern_gives_the_files_it_matches_sorted(directory):
  found = storage.expand(f"{directory}/**/file")
  assert [path.rpartition("/one/")[2] for path in found] == ["file", "two/file"]
  for path in found:
    assert storage.is_remote(path) == storage.is_remote(directory)
    assert storage.read_bytes(path) == b"0123456789"
  assert storage.expand(f"{directory}/nothing*") == []


def test_an_unknown_or_uninstalled_scheme_is_named():
  with pytest.raises(ValueError, match="nonsense"):
    storage.exists("nonsense://bucket/file")
  with pytest.raises(ValueError, match="dropbox://b/f: .*dropbox"):
    storage.read_bytes("dropbox://b/f")


class _Failing(memory.MemoryFileSystem):
  """Fails as gcsfs does: with errors that are no OSErrors."""

  protocol = "failing"

  def _fail(self, *unused, **unused_too):
    raise RuntimeError("503, try later")

  info = cat_file = find = ls = glob = _fail

  def _open(self, *unused, **unused_too):
    file = io.BytesIO()
    file.read = self._fail
    return file


def test_the_errors_of_any_package_become_os_errors():
  fsspec.register_implementation("failing", _Failing, clobber=True)
  for read in (
    storage.exists,
    storage.is_directory,
    storage.read_bytes,
    storage.list_sizes,
    storage.expand,
    lambda url: storage.read_bytes(url, 0, 1),
    lambda url: list(storage.list_files(url)),
  ):
    with pytest.raises(OSError, match="RuntimeError: 503, try later"):
      read("failing://bucket/file")
  with storage.open_file("failing://bucket/file") as file:
    with pytest.raises(OSError, match="RuntimeError: 503, try later"):
      file.read(1)


def test_a_glob_enters_links_once_and_runs_in_no_circle(tmp_path, monkeypatch):
  write_tree(tmp_path, ["a/x.tar", "a/b/y.tar", ".h/z.tar", "w.tar"])
  for name in "abcdefgh":  # Each of them leads everywhere: 8! ways.
    (tmp_path / f"a/b/to_{name}").symlink_to(tmp_path)
  (tmp_path / "loop").symlink_to("loop")
  other = tmp_path.parent / f"{tmp_path.name}_other"
  write_tree(other, ["o.tar"])
  (tmp_path / "linked").symlink_to(other)
  wanted = ["a/b/y.tar", "a/x.tar", "linked/o.tar", "w.tar"]
  found = storage.expand(f"{tmp_path}/**/*.tar")
  assert found == [str(tmp_path / name) for name in wanted]
  below = storage.expand(f"{tmp_path}/a/**/*.tar")
  assert len(below) == 4 and {*found[:2]} <= {*below}
  monkeypatch.chdir(tmp_path)
  assert storage.expand("**/*.tar") == wanted
  assert storage.expand("a**/x.tar") == ["a/x.tar"]
  assert "a/b/y.tar" in storage.expand("a/**")

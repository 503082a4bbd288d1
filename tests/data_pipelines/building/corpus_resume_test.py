"""Builds that are killed, interrupted or told other things when continued."""

import functools
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest

from data_pipelines import build_corpus
from data_pipelines.building import listing, scan, workspace
from data_pipelines.common import files, images, locks
from data_pipelines.corpus import records
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora

_NUM_TINY = 3000
_TIMEOUT = 120  # Seconds until a command counts as hanging.


def _contents(directory):
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def _tiny_png(number):
  def chunk(kind, data):
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check

  header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
  pixels = b"\0" + number.to_bytes(3, "big")
  return b"".join(
    [
      b"\x89PNG\r\n\x1a\n",
      chunk(b"IHDR", header),
      chunk(b"IDAT", zlib.compress(pixels)),
      chunk(b"IEND", b""),
    ]
  )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
  """A tar of many images; each hundredth is broken, each tenth a copy."""
  files = {
    f"{number:04}.png": _tiny_png(number - (number % 10 == 9))
    if number % 100
    else b"broken"
    for number in range(_NUM_TINY)
  }
  path = tmp_path_factory.mktemp("tiny") / "tiny.tar"
  path.write_bytes(corpora.make_tar(files))
  return path


@pytest.fixture(scope="module")
def expected(tiny):
  build_corpus.build_corpus([tiny], tiny.parent / "expected", shard_size=40)
  contents = _contents(tiny.parent / "expected")
  assert len(contents) == 2 * 67 + 3
  return contents


def _command(tar, output, workers):
  command = [sys.executable, "-m", "data_pipelines.build_corpus"]
  command += ["--input", tar, "--output", output, "--shard_size", "40"]
  return [*command, "--workers", str(workers)]


def _run(*arguments):
  return subprocess.run(
    _command(*arguments), capture_output=True, text=True, timeout=_TIMEOUT
  )


def _start(*arguments):
  return subprocess.Popen(
    _command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
  )


def _wait_for(condition):
  end = time.monotonic() + _TIMEOUT
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.001)


def _children(process):
  path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
  return [int(child) for child in path.read_text().split()]


def _is_worker(child):
  return b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()


def _is_running(pid):
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"


def test_any_number_of_workers_gives_the_same_bytes(tiny, expected, tmp_path):
  done = _run(tiny, tmp_path / "out", 2)
  assert done.returncode == 0, done.stderr
  assert _contents(tmp_path / "out") == expected
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("pattern", ["scan/*.npz", "shards/*.json"])
def test_a_killed_build_is_continued_to_the_same_bytes(
  tiny, expected, tmp_path, pattern
):
  output, building = tmp_path / "out", tmp_path / ".out.building"
  process = _start(tiny, output, 1)
  _wait_for(lambda: any(building.glob(pattern)))
  children = _children(process)
  process.kill()
  process.communicate()
  assert not output.exists()
  _wait_for(lambda: not any(map(_is_running, children)))
  done = _run(tiny, output, 1)
  assert done.returncode == 0, done.stderr
  assert _contents(output) == expected
  assert not building.exists()


def test_a_killed_worker_ends_the_build_which_can_be_continued(
  tiny, expected, tmp_path
):
  output, building = tmp_path / "out", tmp_path / ".out.building"
  process = _start(tiny, output, 2)
  _wait_for(lambda: any(building.glob("scan/*.npz")))
  os.kill(next(filter(_is_worker, _children(process))), signal.SIGKILL)
  _, errors = process.communicate(timeout=_TIMEOUT)
  assert process.returncode == 1
  (line,) = [
    line for line in errors.decode().splitlines() if "build_corpus" in line
  ]
  assert line.startswith("build_corpus: a worker process ended in the middle")
  assert line.endswith(f"{building} is kept, the same command continues")
  assert b"Traceback" not in errors
  assert _run(tiny, output, 0).returncode == 0
  assert _contents(output) == expected


def test_the_images_before_those_that_ended_a_worker_are_named(tmp_path):
  (tmp_path / "scan").mkdir()
  for name, text in (
    (
      ".00000000.jsonl.7-x.partial",
      '{"name": "a.jpg"}\n{"name": "b.jpg"}\n{"na',
    ),
    (".00000001.jsonl.8-x.partial", ""),
    (".00000002.npz.8-x.partial", ""),
  ):
    (tmp_path / "scan" / name).write_text(text)
  assert scan._last_names(workspace.Building(tmp_path)) == (
    "; last images read: b.jpg, none"
  )


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_how_to_continue(tiny, tmp_path, sign):
  output, building = tmp_path / "out", tmp_path / ".out.building"
  process = _start(tiny, output, 1)
  _wait_for(lambda: any(building.glob("scan/*.npz")))
  children = _children(process)
  process.send_signal(sign)
  _, errors = process.communicate(timeout=_TIMEOUT)
  assert process.returncode == 130
  assert errors.decode().splitlines()[-1] == (
    f"build_corpus: stopped; {building} is kept, the same command continues"
  )
  assert b"Traceback" not in errors
  _wait_for(lambda: not any(map(_is_running, children)))


class _Stopped(Exception):
  pass


def _stop_at(monkeypatch, module, name, number):
  """Makes a function raise at its call of that number, counted from 1."""
  function, calls = getattr(module, name), []

  def stop(*arguments, **options):
    calls.append(arguments)
    if len(calls) == number:
      raise _Stopped
    return function(*arguments, **options)

  monkeypatch.setattr(module, name, stop)
  return calls


@pytest.mark.parametrize(
  "module, name, number",
  [
    (listing.kinds, "find_other", 4),
    (images, "decode_image", 2),
    (images, "decode_image", 7),
    (files, "read_json", 9),
    (records, "encode_record", 1),
    (records, "encode_record", 5),
    (listing.workspace.shutil, "rmtree", 1),
  ],
)
def test_a_build_stopped_anywhere_is_continued_to_the_same_bytes(
  photo_folder, tmp_path, monkeypatch, module, name, number
):
  build = functools.partial(
    build_corpus.build_corpus,
    [photo_folder],
    shard_size=2,
    sizes=workspace.Sizes(piece=2),
  )
  (photo_folder / "copy.jpg").write_bytes((photo_folder / "2.JPG").read_bytes())
  build(tmp_path / "whole")
  with monkeypatch.context() as patched:
    _stop_at(patched, module, name, number)
    with pytest.raises(_Stopped):
      build(tmp_path / "out")
  assert (tmp_path / ".out.building").exists()
  build(tmp_path / "out")
  assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")
  assert not (tmp_path / ".out.building").exists()


def test_nothing_that_is_done_is_done_again(
  photo_folder, tmp_path, monkeypatch
):
  build = functools.partial(
    build_corpus.build_corpus,
    [photo_folder],
    tmp_path / "out",
    shard_size=2,
    sizes=workspace.Sizes(piece=1),
  )
  with monkeypatch.context() as patched:
    _stop_at(patched, images, "decode_image", 5)
    with pytest.raises(_Stopped):
      build()
  with monkeypatch.context() as patched:
    decoded = _stop_at(patched, images, "decode_image", None)
    _stop_at(patched, records, "encode_record", 6)
    with pytest.raises(_Stopped):
      build()
  assert len(decoded) == 3  # Of seven, four were done.
  encoded = _stop_at(monkeypatch, records, "encode_record", None)
  build()
  assert len(encoded) == 3  # Of four shards, two were done.


def _interrupt(photo_folder, tmp_path, monkeypatch):
  """Leaves a build in which all is scanned and nothing is written."""
  with monkeypatch.context() as patched:
    _stop_at(patched, records, "encode_record", 1)
    with pytest.raises(_Stopped):
      build_corpus.build_corpus([photo_folder], tmp_path / "out")
  return tmp_path / ".out.building"


def test_other_arguments_do_not_continue(photo_folder, tmp_path, monkeypatch):
  left = _interrupt(photo_folder, tmp_path, monkeypatch)
  with pytest.raises(
    ValueError, match="shard_size=1000, now it is 5; .*remove that directory"
  ):
    build_corpus.build_corpus([photo_folder], tmp_path / "out", shard_size=5)
  assert left.exists()


def test_a_continued_build_keeps_to_its_listing(
  photo_folder, tmp_path, monkeypatch
):
  _interrupt(photo_folder, tmp_path, monkeypatch)
  (photo_folder / "7.jpg").write_bytes(b"new")
  manifest, _ = build_corpus.build_corpus([photo_folder], tmp_path / "out")
  assert manifest["num_records"] == 7 and not manifest["rejected"]["count"]


@pytest.mark.parametrize("change", ["other", "gone", "shorter"])
def test_an_image_that_changed_since_the_scan_is_named(
  photo_folder, tmp_path, monkeypatch, change
):
  left = _interrupt(photo_folder, tmp_path, monkeypatch)
  path = photo_folder / "2.JPG"
  data = path.read_bytes()
  path.unlink()
  if change != "gone":
    path.write_bytes(data[:-1] + (b"" if change == "shorter" else b"x"))
  with pytest.raises(
    ValueError, match=f"2.JPG: changed in the middle .*: .* remove {left}"
  ):
    build_corpus.build_corpus([photo_folder], tmp_path / "out")
  path.write_bytes(data)
  build_corpus.build_corpus([photo_folder], tmp_path / "out")
  assert len(open_source(tmp_path / "out")) == 7


def test_an_image_that_went_before_the_scan_is_named(
  photo_folder, tmp_path, monkeypatch
):
  build = functools.partial(
    build_corpus.build_corpus,
    [photo_folder],
    tmp_path / "out",
    sizes=workspace.Sizes(piece=1),
  )
  with monkeypatch.context() as patched:
    _stop_at(patched, images, "decode_image", 3)
    with pytest.raises(_Stopped):
      build()
  (photo_folder / "4.JPG").unlink()
  with pytest.raises(ValueError, match="4.JPG: 4.JPG: changed .* no such file"):
    build()


def test_a_disk_that_does_not_read_is_named(
  photo_folder, tmp_path, monkeypatch, capsys
):
  read = scan.storage.read_bytes

  def fail(path, *part):
    if str(path).endswith(".JPG"):
      raise OSError(5, "Input/output error", path)
    return read(path, *part)

  monkeypatch.setattr(scan.storage, "read_bytes", fail)
  arguments = ["--input", str(photo_folder), "--output", str(tmp_path / "out")]
  assert build_corpus.main([*arguments, "--workers", "0"]) == 1
  assert capsys.readouterr().err.splitlines()[-1] == (
    f"build_corpus: {photo_folder}/0.JPG: Input/output error; "
    f"{tmp_path}/.out.building is kept, the same command continues"
  )


def test_a_tar_that_became_shorter_is_named(
  photo_folder, tmp_path, monkeypatch
):
  tar = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  _interrupt(tar, tmp_path, monkeypatch)
  os.truncate(tar, 2000)
  with pytest.raises(
    ValueError, match="packed.tar: .*JPG: changed in the middle"
  ):
    build_corpus.build_corpus([tar], tmp_path / "out")


def test_two_processes_do_not_build_the_same(
  photo_folder, tmp_path, monkeypatch
):
  left = _interrupt(photo_folder, tmp_path, monkeypatch)
  with locks.held(tmp_path / "out"):
    with pytest.raises(ValueError, match=r"out: in use by process \d+ on "):
      build_corpus.build_corpus([photo_folder], tmp_path / "out")
  assert left.exists()


def test_a_full_disk_is_one_line_that_says_how_to_continue(
  photo_folder, tmp_path, monkeypatch, capsys
):
  def fail(record):
    raise OSError("No space left on device")

  arguments = ["--input", str(photo_folder), "--output", str(tmp_path / "out")]
  with monkeypatch.context() as patched:
    patched.setattr(records, "encode_record", fail)
    assert build_corpus.main([*arguments, "--workers", "0"]) == 1
  assert capsys.readouterr().err.splitlines()[-1] == (
    f"build_corpus: No space left on device; {tmp_path}/.out.building is kept, "
    "the same command continues"
  )
  assert build_corpus.main([*arguments, "--workers", "0"]) == 0

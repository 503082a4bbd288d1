"""A local directory served as Google Cloud Storage, with faults on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import threading
import urllib.parse
from collections.abc import Iterator

import fsspec
import pytest
from etils.epath import backend

_UPLOAD = re.compile(r"/upload/storage/v1/b/[^/]+/o")
_OBJECTS = re.compile(r"(?:/download)?/storage/v1/b/[^/]+/o(?:/(.+))?")
_BUCKET = re.compile(r"/storage/v1/b/[^/]+")
_REWRITE = re.compile(r"/storage/v1/b/[^/]+/o/(.+)/rewriteTo/b/[^/]+/o/(.+)")
_TRY_AGAIN = b'{"error": {"message": "try again"}}'
_NOT_FOUND = b'{"error": {"code": 404, "message": "No such object"}}'


class FakeBucket:
  """Answers gcsfs, TensorStore and Google's own client as gs://ANY_NAME.

  Only of gs://none it says that there is no such bucket.

  Listings, metadata, (ranged) reads, uploads, copies and deletions, with
  generations and the conditions on them. An object appears when all of its
  bytes have come.

  Attributes:
    endpoint: the server's URL.
    requests: (path, Range header or None) of all requests so far.
    num_failed: requests answered with 503 so far.
    num_stalled: requests kept waiting so far.
  """

  def __init__(self, directory: os.PathLike):
    self._directory = pathlib.Path(directory)
    self._lock = threading.Lock()
    self._failures, self._failing = 0, ""
    self._failure_share, self._random = 0.0, random.Random(0)
    self._stalls, self._stalling = 0, ""
    self._resumed = threading.Event()
    self._closed = self._is_denied = False
    self.requests = []
    self.num_failed = 0
    self.num_stalled = 0
    self._uploads = []  # The name of each upload that was begun.
    self._changing = threading.RLock()
    self._generations = {}  # Of objects that were written here.
    self._digests = {}  # By name and generation.
    self._server = http.server.ThreadingHTTPServer(
      ("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": self})
    )
    self._server.daemon_threads = True
    self._server.block_on_close = False
    self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
    threading.Thread(
      target=self._server.serve_forever, args=(0.02,), daemon=True
    ).start()

  def environment(self) -> dict[str, str]:
    """What makes gcsfs, TensorStore and ArrayRecord's client come here."""
    return {
      "STORAGE_EMULATOR_HOST": self.endpoint,
      "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.endpoint,
      "TENSORSTORE_GCS_HTTP_URL": self.endpoint,
      "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
      "FSSPEC_GS_TOKEN": "anon",
      # Else gcsfs asks for the kind of bucket over gRPC.
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }

  def fail_next(self, count: int, matching: str = "") -> None:
    """Answers `count` requests with 503: the next whose URL has `matching`."""
    with self._lock:
      self._failures, self._failing = count, matching

  def fail_often(self, share: float) -> None:
    """Answers this share of all requests, drawn at random, with 503."""
    with self._lock:
      self._failure_share = share

  def stall_next(self, count: int, matching: str = "") -> None:
    """Takes `count` requests of such URLs, and does not answer them."""
    with self._lock:
      self._stalls, self._stalling = count, matching
      self._resumed.clear()

  def deny(self) -> None:
    """Answers all requests as those of nobody in particular, with 401."""
    self._is_denied = True

  def resume(self) -> None:
    """Answers all requests again, also those that wait."""
    with self._lock:
      self._failures = self._failure_share = 0
      self._is_denied = False
      self._stalls = 0
      self._resumed.set()

  def close(self) -> None:
    """Ends the server; requests that wait get no answer."""
    self._closed = True
    self.resume()
    self._server.shutdown()
    self._server.server_close()

  def __enter__(self) -> FakeBucket:
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _admit(self, path: str, wanted: str | None) -> int:
    """Notes a request; returns the status to answer with, 0 for none."""
    decoded = urllib.parse.unquote(path)
    with self._lock:
      self.requests.append((path, wanted))
      is_failed = self._failures > 0 and self._failing in decoded
      is_stalled = self._stalls > 0 and self._stalling in decoded
      self._failures -= is_failed
      self._stalls -= is_stalled
      if not is_failed and not is_stalled:
        is_failed = self._random.random() < self._failure_share
      self.num_failed += is_failed
      self.num_stalled += is_stalled
    if is_stalled:
      self._resumed.wait()
    if self._closed:
      return 0
    if self._is_denied:
      return 401
    if "/b/none/" in decoded:
      return 404
    return 503 if is_failed else 200

  def _list(self, prefix: str, delimiter: str) -> dict:
    root = self._directory / prefix.rpartition("/")[0]
    items, prefixes = [], set()
    with self._changing:
      for path in sorted(root.rglob("*")):
        name = path.relative_to(self._directory).as_posix()
        if not path.is_file() or not name.startswith(prefix):
          continue
        head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
        if found:
          prefixes.add(prefix + head + delimiter)
        else:
          items.append(self._describe(name))
    return {"items": items, "prefixes": sorted(prefixes)}

  def _store(self, name: str, data: bytes, wanted: str | None) -> bool:
    """Whether it was stored: `wanted` may say which generation is there."""
    path = self._directory / name
    with self._changing:
      if wanted not in (None, self._generation(name)):
        return False
      path.parent.mkdir(parents=True, exist_ok=True)
      partial = path.with_name(f".{threading.get_ident()}.arriving")
      partial.write_bytes(data)
      partial.replace(path)
      self._generations[name] = self._generations.get(name, 1) + 1
    return True

  def _delete(self, name: str, wanted: str | None) -> bool:
    path = self._directory / name
    with self._changing:
      self._require(name)
      if wanted not in (None, self._generation(name)):
        return False
      path.unlink()
      with contextlib.suppress(OSError):  # Buckets have no directories.
        for parent in path.parents:
          if parent == self._directory:
            break
          parent.rmdir()
    return True

  def _read(self, name: str) -> tuple[bytes, str]:
    """An object and its generation."""
    with self._changing:
      self._require(name)
      return (self._directory / name).read_bytes(), self._generation(name)

  def _require(self, name: str) -> None:
    if not (self._directory / name).is_file():
      raise FileNotFoundError(name)

  def _generation(self, name: str) -> str:
    is_there = (self._directory / name).is_file()
    return str(self._generations.get(name, 1)) if is_there else "0"

  def _describe(self, name: str) -> dict:
    path = self._directory / name
    with self._changing:
      self._require(name)
      changed, size = path.stat().st_mtime_ns, path.stat().st_size
      key = name, self._generation(name), changed
      if key not in self._digests:
        digest = hashlib.md5(path.read_bytes()).digest()
        self._digests[key] = base64.b64encode(digest).decode()
    return {
      "kind": "storage#object",
      "name": name,
      "size": str(size),
      "generation": key[1],
      "md5Hash": self._digests[key],
    }


def read_all(directory: pathlib.Path) -> dict[str, bytes]:
  """All files below a directory, of a bucket or not, by relative name."""
  return {
    path.relative_to(directory).as_posix(): path.read_bytes()
    for path in directory.rglob("*")
    if path.is_file()
  }


@contextlib.contextmanager
def serving(directory: os.PathLike) -> Iterator[FakeBucket]:
  """Serves it to this process and those it starts."""
  # What the environment says is for a process that has not imported gcsfs.
  core = pytest.importorskip("gcsfs.core", reason="needs gcsfs")
  with FakeBucket(directory) as bucket, pytest.MonkeyPatch.context() as patched:
    for name, value in bucket.environment().items():
      patched.setenv(name, value)
    options = {"token": "anon", "endpoint_url": bucket.endpoint}
    for scheme in ("gs", "gcs"):  # Orbax and TFDS take the other one.
      fsspec.register_implementation(scheme, core.GCSFileSystem, clobber=True)
      patched.setitem(fsspec.config.conf, scheme, options)
    # Orbax' paths keep the first client that they made.
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    yield bucket


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  wbufsize = -1  # Header and body in one piece: else TCP waits between them.
  bucket: FakeBucket

  def handle(self):
    try:
      super().handle()
    except ConnectionError:  # The client did not wait.
      pass

  def do_GET(self):
    wanted = self.headers.get("Range")
    status = self.bucket._admit(self.path, wanted)
    if not status:
      self.close_connection = True
      return
    if status != 200:
      self._answer(status, _TRY_AGAIN)
      return
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    objects = _OBJECTS.fullmatch(url.path)
    try:
      if objects and objects[1]:
        self._object(urllib.parse.unquote(objects[1]), query, wanted)
      elif objects:
        listed = self.bucket._list(
          query.get("prefix", ""), query.get("delimiter", "")
        )
        start, end = query.get("startOffset", ""), query.get("endOffset")
        listed["items"] = [
          item
          for item in listed["items"]
          if start <= item["name"] and (not end or item["name"] < end)
        ]
        self._answer(200, json.dumps(listed).encode())
      elif _BUCKET.fullmatch(url.path):
        self._answer(200, b'{"kind": "storage#bucket", "name": "any"}')
      else:
        self._answer(400, b"")
    except FileNotFoundError:
      self._answer(404, _NOT_FOUND)

  def do_POST(self):
    """An upload in one request, or the first or second one of one in two."""
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    wanted = query.get("ifGenerationMatch")
    data = self._read_body()
    if data is None:
      return
    whole = f"bytes 0-{len(data) - 1}/{len(data)}"
    if copied := _REWRITE.fullmatch(url.path):
      self._copy(*map(urllib.parse.unquote, copied.groups()))
    elif not _UPLOAD.fullmatch(url.path):
      self._answer(400, b"")
    elif query.get("uploadType") == "media":
      self._store(query["name"], data, wanted)
    elif "upload_id" not in query and query["uploadType"] == "multipart":
      self._store(*_read_multipart(data), wanted)
    elif "upload_id" not in query:
      self.bucket._uploads.append(query["name"])
      number = len(self.bucket._uploads) - 1
      place = f"{self.bucket.endpoint}{url.path}?upload_id={number}"
      self._answer(200, b"{}", {"Location": place})
    elif self.headers["Content-Range"] == whole:
      self._store(self.bucket._uploads[int(query["upload_id"])], data, None)
    else:
      self._answer(400, b"")

  def do_DELETE(self):
    if self._read_body() is None:
      return
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    name = urllib.parse.unquote(_OBJECTS.fullmatch(url.path)[1])
    try:
      is_done = self.bucket._delete(name, query.get("ifGenerationMatch"))
    except FileNotFoundError:
      self._answer(404, _NOT_FOUND)
    else:
      self._answer(204 if is_done else 412, b"")

  def _copy(self, source, target):
    try:
      data, _ = self.bucket._read(source)
    except FileNotFoundError:
      self._answer(404, _NOT_FOUND)
    else:
      self.bucket._store(target, data, None)
      self._answer(200, b'{"done": true}')

  def _read_body(self):
    data = self.rfile.read(int(self.headers["Content-Length"] or 0))
    status = self.bucket._admit(self.path, None)
    if status == 200:
      return data
    if status:
      self._answer(status, _TRY_AGAIN)
    self.close_connection = True
    return None

  def _store(self, name, data, wanted):
    if self.bucket._store(name, data, wanted):
      self._answer(200, json.dumps(self.bucket._describe(name)).encode())
    else:
      self._answer(412, b"")

  def _object(self, name, query, wanted):
    if query.get("alt") != "media":
      self._answer(200, json.dumps(self.bucket._describe(name)).encode())
      return
    data, generation = self.bucket._read(name)
    if query.get("ifGenerationNotMatch") == generation:
      self._answer(304, b"")
      return
    if query.get("ifGenerationMatch") not in (None, generation):
      self._answer(412, b"")
      return
    headers = {"x-goog-generation": generation}
    if wanted is None:
      self._answer(200, data, headers)
      return
    size = len(data)
    start, end = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted).groups()
    if not start:  # The last so many bytes.
      start, end = max(0, size - int(end)), size - 1
    start, end = int(start), min(int(end or size), size - 1)
    if start > end:
      self._answer(416, b"")
      return
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    self._answer(206, data[start : end + 1], headers)

  def _answer(self, status, body, headers=None):
    self.send_response(status)
    for name, value in (headers or {}).items():
      self.send_header(name, value)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *unused):
    pass


def _read_multipart(body: bytes) -> tuple[str, bytes]:
  """The name and the bytes of an upload in one request, as gcsfs makes it."""
  mark = b"--==0=="
  _, described, rest = body.split(mark, 2)
  content = rest[rest.index(b"\n\n") + 2 : rest.rindex(b"\n" + mark)]
  return json.loads(described.partition(b"\n\n")[2])["name"], content

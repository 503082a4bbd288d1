"""A local directory served as Google Cloud Storage, with faults on demand."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import re
import threading
import urllib.parse

_UPLOAD = re.compile(r"/upload/storage/v1/b/[^/]+/o")
_OBJECTS = re.compile(r"(?:/download)?/storage/v1/b/[^/]+/o(?:/(.+))?")
_BUCKET = re.compile(r"/storage/v1/b/[^/]+")


class FakeBucket:
  """Answers listings, metadata, (ranged) reads and uploads as gs://ANY_NAME.

  An object appears when all of its bytes have come.

  Attributes:
    endpoint: the server's URL.
    requests: (path, Range header or None) of all requests so far.
    num_failed: requests answered with 503 so far.
    num_stalled: requests kept waiting so far.
  """

  def __init__(self, directory: os.PathLike):
    self._directory = pathlib.Path(directory)
    self._lock = threading.Lock()
    self._failures = 0
    self._stalls = 0
    self._resumed = threading.Event()
    self._closed = False
    self.requests = []
    self.num_failed = 0
    self.num_stalled = 0
    self._uploads = []  # The name of each upload that was begun.
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
    """What makes gcsfs and ArrayRecord's own client come here."""
    return {
      "STORAGE_EMULATOR_HOST": self.endpoint,
      "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.endpoint,
      "FSSPEC_GS_TOKEN": "anon",
      # Else gcsfs asks for the kind of bucket over gRPC.
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }

  def fail_next(self, count: int) -> None:
    """Answers the next `count` requests with 503."""
    with self._lock:
      self._failures = count

  def stall_next(self, count: int) -> None:
    """Takes the next `count` requests, and does not answer them."""
    with self._lock:
      self._stalls = count
      self._resumed.clear()

  def resume(self) -> None:
    """Answers all requests again, also those that wait."""
    with self._lock:
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
    with self._lock:
      self.requests.append((path, wanted))
      is_failed, is_stalled = self._failures > 0, self._stalls > 0
      self._failures -= is_failed
      self._stalls -= is_stalled
      self.num_failed += is_failed
      self.num_stalled += is_stalled
    if is_stalled:
      self._resumed.wait()
    if self._closed:
      return 0
    return 503 if is_failed else 200

  def _list(self, prefix: str, delimiter: str) -> dict:
    items, prefixes = [], set()
    for path in sorted(self._directory.rglob("*")):
      name = path.relative_to(self._directory).as_posix()
      if not path.is_file() or not name.startswith(prefix):
        continue
      head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
      if found:
        prefixes.add(prefix + head + delimiter)
      else:
        items.append(self._describe(name))
    return {"items": items, "prefixes": sorted(prefixes)}

  def _store(self, name: str, data: bytes) -> None:
    path = self._directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{threading.get_ident()}.arriving")
    partial.write_bytes(data)
    partial.replace(path)

  def _describe(self, name: str) -> dict:
    size = (self._directory / name).stat().st_size
    return {"kind": "storage#object", "name": name, "size": str(size)}


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
      self._answer(status, b'{"error": {"message": "try again"}}')
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
        self._answer(200, json.dumps(listed).encode())
      elif _BUCKET.fullmatch(url.path):
        self._answer(200, b'{"kind": "storage#bucket"}')
      else:
        self._answer(400, b"")
    except FileNotFoundError:
      self._answer(
        404, b'{"error": {"code": 404, "message": "No such object"}}'
      )

  def do_POST(self):
    """An upload in one request, or the first or second one of one in two."""
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    data = self._read_body()
    if data is None:
      return
    whole = f"bytes 0-{len(data) - 1}/{len(data)}"
    if not _UPLOAD.fullmatch(url.path):
      self._answer(400, b"")
    elif "upload_id" not in query and query["uploadType"] == "multipart":
      self._store(*_read_multipart(data))
    elif "upload_id" not in query:
      self.bucket._uploads.append(query["name"])
      number = len(self.bucket._uploads) - 1
      place = f"{self.bucket.endpoint}{url.path}?upload_id={number}"
      self._answer(200, b"{}", {"Location": place})
    elif self.headers["Content-Range"] == whole:
      self._store(self.bucket._uploads[int(query["upload_id"])], data)
    else:
      self._answer(400, b"")

  def _read_body(self):
    data = self.rfile.read(int(self.headers["Content-Length"] or 0))
    status = self.bucket._admit(self.path, None)
    if status == 200:
      return data
    if status:
      self._answer(status, b'{"error": {"message": "try again"}}')
    self.close_connection = True
    return None

  def _store(self, name, data):
    self.bucket._store(name, data)
    self._answer(200, json.dumps(self.bucket._describe(name)).encode())

  def _object(self, name, query, wanted):
    if not (self.bucket._directory / name).is_file():
      raise FileNotFoundError(name)
    if query.get("alt") != "media":
      self._answer(200, json.dumps(self.bucket._describe(name)).encode())
      return
    path = self.bucket._directory / name
    if wanted is None:
      self._answer(200, path.read_bytes())
      return
    size = path.stat().st_size
    start, end = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted).groups()
    if not start:  # The last so many bytes.
      start, end = max(0, size - int(end)), size - 1
    start, end = int(start), min(int(end or size), size - 1)
    if start > end:
      self._answer(416, b"")
      return
    with path.open("rb") as file:
      file.seek(start)
      part = file.read(end + 1 - start)
    self._answer(206, part, {"Content-Range": f"bytes {start}-{end}/{size}"})

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

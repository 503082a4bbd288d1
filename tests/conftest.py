"""Eight simulated devices, and shapes checked at run time."""

import ctypes
import gc
import os
import pathlib
import shutil
import sys
import tempfile
from importlib import metadata

# Both must be set before anything imports jax.
os.environ["JAX_PLATFORMS"] = "cpu"
# Compiling is most of the suite's time, so LLVM does little, a program stays
# in one part, and fused loops are written the older way, which takes a third
# of the time; newer versions have no older way, and end at a flag that they do
# not know. Subprocesses that measure or resume inherit this.
_OF_THIS_VERSION = [
  "--xla_cpu_use_fusion_emitters=false",
  "--xla_cpu_parallel_codegen_split_count=1",
]
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    *(
      _OF_THIS_VERSION if metadata.version("jaxlib").startswith("0.10.") else ()
    ),
  ]
)

# Threads of several frameworks would wait for each other on few cores.
os.environ["OMP_NUM_THREADS"] = "1"

# Buckets that fall silent are asked again soon. Read once in a process.
os.environ["TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS"] = "4"

# A program is compiled once by all processes of the suite, subprocesses too.
PROGRAMS = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  PROGRAMS = tempfile.mkdtemp(prefix="sapiens2_jax_programs_")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = PROGRAMS
# Small ones too: there are thousands.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.01")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

from data_pipelines.common import locks  # noqa: E402
from tests.photographs import (  # noqa: E402, F401
  encode,
  photo_folder,
  smooth_photo,
)

# A busy machine is slow; that is no fault of what is tested.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

# Tracing makes millions of objects that stay; fewer looks at all of them.
gc.set_threshold(50_000)

CHECKED = (
  "models",
  "pretrain",
  "tasks.dense",
  "tasks.objective",
  *(f"tasks.{name}.losses" for name in ("matting", "pointmap", "pose")),
  "tasks.segmentation.losses",
)
install_import_hook(
  [f"sapiens2_jax.{name}" for name in CHECKED], "beartype.beartype"
)


# Of one process, before compiled programs are dropped; and how much more, from
# then on: what libraries hold stays, and to drop programs after each test would
# compile them for each test.
MORE_BYTES = 2**29
max_bytes = 2**31


def resident_bytes() -> int:
  """Memory that this process holds."""
  pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
  return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True, scope="session")
def quick_locks():
  """Nobody else comes while a lock settles, in most tests."""
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(locks, "SETTLE", 0.0)
    yield


@pytest.fixture(autouse=True, scope="module")
def forgotten_results(request):
  """What a file's tests share goes with the file."""
  yield
  for value in list(vars(request.module).values()):
    if hasattr(value, "cache_clear"):
      value.cache_clear()


@pytest.fixture(autouse=True)
def bounded_memory():
  """Compiled programs go before they fill a laptop."""
  global max_bytes
  yield
  if "jax" in sys.modules and resident_bytes() > max_bytes:
    sys.modules["jax"].clear_caches()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed.
    max_bytes = max(max_bytes, resident_bytes() + MORE_BYTES)


def pytest_sessionfinish(session, exitstatus):
  session.config.final_status = int(exitstatus)


def pytest_unconfigure(config):
  """Ends at once: native threads of a library may abort a slow farewell."""
  is_worker = hasattr(config, "workerinput")  # Of pytest-xdist.
  if PROGRAMS is not None:
    shutil.rmtree(PROGRAMS, ignore_errors=True)
  if hasattr(config, "final_status") and not is_worker:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.final_status)

"""Eight simulated devices, and shapes checked at run time."""

import os
import sys

# Both must be set before anything imports jax.
os.environ["JAX_PLATFORMS"] = "cpu"
# Compiling is most of the suite's time, so LLVM does little; the programs are
# the same. Subprocesses that measure or resume inherit this.
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
  ]
)

from jaxtyping import install_import_hook  # noqa: E402

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


def pytest_sessionfinish(session, exitstatus):
  session.config.final_status = int(exitstatus)


def pytest_unconfigure(config):
  """Ends at once: native threads of a library may abort a slow farewell."""
  is_worker = hasattr(config, "workerinput")  # Of pytest-xdist.
  if hasattr(config, "final_status") and not is_worker:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.final_status)

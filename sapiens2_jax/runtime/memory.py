"""How full memory is; what was too large for it, and what makes it smaller."""

from __future__ import annotations

import os
import pathlib
import re

import jax

from data_pipelines.common import errors

# Of a run: each makes a step smaller, none changes what is learned but by
# rounding; the last makes it learn something else.
RUN = (
  "raise data.accumulation_steps, model.remat=full, cut the state over more "
  "devices (mesh.fsdp, sharding.*), or lower data.global_batch_size"
)
COMMAND = "give it smaller images, a smaller --batch_size or fewer processes"
_DEVICE = "RESOURCE_EXHAUSTED"
# XLA says so also of a message that is too long, say.
_MEMORY = re.compile(r"memory|alloc|hbm", re.IGNORECASE)
_BYTES = re.compile(r"(\d{7,}) bytes")


def explain(error: BaseException, remedy: str) -> str | None:
  """One line for an error that a lack of memory is the reason of.

  Args:
    error: any; what it was raised from counts, too.
    remedy: what to do.

  Returns:
    What was asked for, what there is and what to do; None for other errors.
  """
  chain = [error]
  while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
    chain.append(cause)
  for one in reversed(chain):
    text = str(one)
    if errors.is_out_of_memory(one):
      return f"out of memory on this host: {_asked(text)}; {_host()}; {remedy}."
    if _DEVICE in text and _MEMORY.search(text):
      return (
        f"out of memory on a device: {_asked(text)}; {_device()}; {remedy}."
      )
  return None


def in_use() -> dict[str, int | None]:
  """Bytes of memory, where the platform says them (CPUs say none of devices).

  Returns:
    device_bytes_in_use, device_bytes_peak and device_bytes_limit of the fullest
    device of this process; host_bytes that this process alone holds in main
    memory, without those that decode.
  """
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  fullest = max(stats, key=lambda one: one.get("peak_bytes_in_use", 0))
  names = {"in_use": "bytes_in_use", "peak": "peak_bytes_in_use"}
  names["limit"] = "bytes_limit"
  found = {f"device_bytes_{k}": fullest.get(v) for k, v in names.items()}
  return {**found, "host_bytes": _resident_bytes()}


def _resident_bytes() -> int | None:
  try:
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
  except OSError:  # Not Linux.
    return None
  return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _asked(text: str) -> str:
  """The line that says what was asked for, with bytes as GB."""
  lines = [line for line in text.splitlines() if _MEMORY.search(line)]
  line = (lines or [text.strip() or "no size is known"])[0]
  line = line.partition(f"{_DEVICE}: ")[2] or line
  line = _BYTES.sub(lambda found: f"{int(found[1]) / 1e9:.2f} GB", line)
  return line.strip().rstrip(".")[:300]


def _host() -> str:
  pages = [os.sysconf(name) for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES")]
  free, total = (n * os.sysconf("SC_PAGE_SIZE") / 1e9 for n in pages)
  return f"it has {total:.2f} GB, {free:.2f} GB of them free"


def _device() -> str:
  device = jax.local_devices()[0]
  stats = device.memory_stats() or {}
  if "bytes_limit" not in stats:
    return f"a {device.device_kind} here, {_host()}"
  limit, used = (stats.get(k, 0) / 1e9 for k in ("bytes_limit", "bytes_in_use"))
  return f"each {device.device_kind} has {limit:.2f} GB, {used:.2f} GB in use"

r"""Prints a JobSet for TPU slices on GKE, for clusters without XPK.

python launch/jobset.py --name p04 --image IMAGE --accelerator tpu-v5p-slice \
  --topology 4x4x8 --mount runs:/mnt/runs --workdir /mnt/runs/p04 \
  --config pretrain:size=0.4b \
  --config.data.path=gs://bucket/corpus | kubectl apply -f -
"""

import math
import os
import re
import sys

import yaml
from absl import flags

from sapiens2_jax import command

_NAME = flags.DEFINE_string("name", None, "Name of the job.")
_IMAGE = flags.DEFINE_string("image", None, "Built from launch/Dockerfile.")
_ACCELERATOR = flags.DEFINE_string(
  "accelerator", None, "Node label gke-tpu-accelerator, e.g. tpu-v5p-slice."
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Node label gke-tpu-topology: chips of a slice, e.g. 4x4x8."
)
_NUM_SLICES = flags.DEFINE_integer("num_slices", 1, "Slices.", lower_bound=1)
_CHIPS_PER_HOST = flags.DEFINE_integer(
  "chips_per_host", 4, "Chips of each host.", lower_bound=1
)
_MOUNT = flags.DEFINE_string(
  "mount",
  None,
  "CLAIM:PATH of a persistent volume claim (Filestore, Lustre), or "
  "gs://BUCKET:PATH through GCS FUSE.",
)
_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives.")

_LONGEST_NAME = 40
_TEMPLATE = os.path.join(os.path.dirname(__file__), "jobset.yaml")


def count_hosts(topology: str, chips_per_host: int) -> int:
  """Hosts of a slice.

  Raises:
    ValueError: if the topology is not like 2x4 or 4x4x8, or not divided.
  """
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology):
    raise ValueError(f"--topology={topology} must be like 2x4 or 4x4x8")
  chips = math.prod(map(int, topology.split("x")))
  hosts, rest = divmod(chips, chips_per_host)
  if rest:
    raise ValueError(
      f"--chips_per_host={chips_per_host} does not divide the {chips} chips "
      f"of --topology={topology}"
    )
  return hosts


def check_name(name: str) -> str:
  """The name, if pods can be called after it; else raises ValueError."""
  is_plain = re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
  if len(name) > _LONGEST_NAME or not is_plain:
    raise ValueError(
      f"--name={name} must be up to {_LONGEST_NAME} of a-z, 0-9 and -, and "
      "neither begin nor end with -"
    )
  return name


def count_devices() -> int:
  """Devices of all slices, as JAX counts them."""
  hosts = count_hosts(_TOPOLOGY.value, _CHIPS_PER_HOST.value)
  chips = _NUM_SLICES.value * hosts * _CHIPS_PER_HOST.value
  of_two = ("tpu7x", "tpu-v3", "tpu-v2")  # Each core is a device.
  return 2 * chips if _ACCELERATOR.value.startswith(of_two) else chips


def read_mount(mount: str | None, workdir: str) -> tuple[str, str] | None:
  """Source and path of --mount, None for a workdir in a bucket without one.

  Raises:
    ValueError: the flag is no such pair, or the workdir is on the disk of a
      pod, which no other sees and which goes with it.
  """
  source, _, path = (mount or "").rpartition(":")
  path = path.rstrip("/")
  is_claim = re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", source)
  is_bucket = re.fullmatch(r"gs://[a-z0-9][-_.a-z0-9]*", source)
  if mount and not (path.startswith("/") and (is_claim or is_bucket)):
    raise ValueError(
      f"--mount={mount} must be CLAIM:/PATH or gs://BUCKET:/PATH"
    )
  is_mounted = mount and workdir.startswith(f"{path}/")
  if "://" not in workdir and not is_mounted:
    raise ValueError(
      f"--workdir={workdir} is on the disk of a pod, which no other pod has "
      "and which goes with it; give one in a bucket, or below the path of "
      "--mount"
    )
  return (source, path) if mount else None


def add_mount(template: dict, source: str, path: str) -> None:
  """Mounts what the flag says into the pods of a template."""
  pod = template["spec"]
  if source.startswith("gs://"):
    template["metadata"] = {"annotations": {"gke-gcsfuse/volumes": "true"}}
    # The last: for pods on the network of their host.
    attributes = {
      "bucketName": source.removeprefix("gs://"),
      "mountOptions": "implicit-dirs",
      "hostNetworkPodKSA": "true",
    }
    driver = "gcsfuse.csi.storage.gke.io"
    volume = {"csi": {"driver": driver, "volumeAttributes": attributes}}
  else:
    volume = {"persistentVolumeClaim": {"claimName": source}}
  pod["volumes"].append({"name": "runs", **volume})
  mount = {"name": "runs", "mountPath": path}
  pod["containers"][0]["volumeMounts"].append(mount)


def build(train_arguments: list[str]) -> dict:
  """The template with what the flags say."""
  with open(_TEMPLATE) as file:
    jobset = yaml.safe_load(file)
  hosts = count_hosts(_TOPOLOGY.value, _CHIPS_PER_HOST.value)
  jobset["metadata"]["name"] = check_name(_NAME.value)
  replicated = jobset["spec"]["replicatedJobs"][0]
  replicated["replicas"] = _NUM_SLICES.value
  job = replicated["template"]["spec"]
  job["parallelism"] = job["completions"] = hosts
  pod = job["template"]["spec"]
  pod["nodeSelector"] = {
    "cloud.google.com/gke-tpu-accelerator": _ACCELERATOR.value,
    "cloud.google.com/gke-tpu-topology": _TOPOLOGY.value,
  }
  container = pod["containers"][0]
  container["image"] = _IMAGE.value
  # Keeps Kubernetes from replacing $(NAME).
  container["args"] = [text.replace("$", "$$") for text in train_arguments]
  container["resources"]["limits"]["google.com/tpu"] = _CHIPS_PER_HOST.value
  if mount := read_mount(_MOUNT.value, _WORKDIR.value):
    add_mount(job["template"], *mount)
  return jobset


def main(overrides: list[str]) -> int:
  jobset = build(
    [
      *("--config", _CONFIG.value),
      *("--workdir", _WORKDIR.value),
      *(f"--config.{override}" for override in overrides),
    ]
  )
  from sapiens2_jax import checking  # Seconds: mistakes in flags go first.

  checking.check_run(
    _CONFIG.value,
    overrides,
    _WORKDIR.value,
    count_devices(),
    is_elsewhere=True,
    say=lambda line: print(line, file=sys.stderr),
  )
  yaml.safe_dump(jobset, sys.stdout, sort_keys=False)
  return 0


if __name__ == "__main__":
  command.run_with_config(
    main, "config", "workdir", "name", "image", "accelerator", "topology"
  )

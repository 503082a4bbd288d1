"""Groups that pretraining and fine-tuning share; loaded by their files.

Values are marked as in pretrain.py.
"""

import ml_collections


def get_common(size: str) -> ml_collections.ConfigDict:
  """What every run has, for one size; the experiment adds its own fields."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  config.model = ml_collections.ConfigDict(
    {
      "size": size,
      "layer_scale_init": 1e-4,  # reference
      "rope_dtype": "float32",  # ours: as transformers; reference: bfloat16
      "dtype": "bfloat16",  # paper; parameters and losses stay float32: ours
      "scan": True,
      # What the backward pass finds in memory: none, full, dots, block or
      # offload (see models/block.py).
      "remat": "full",  # ours
      "attention_backend": "auto",  # xla, splash (TPU) or cudnn (GPU)
      # Encoder weights to start from, in any format that load_pretrained
      # reads; empty: random.
      "init_from": "",
    }
  )

  config.data = ml_collections.ConfigDict(
    {
      # A corpus, TFDS directory, tars or folder, on a disk or in a bucket; or
      # a mixture of several: "PLACE,WEIGHT;PLACE,WEIGHT".
      "path": "corpus",
      "accumulation_steps": 1,
      "num_workers": 16,  # processes that decode; 0: threads in this one
      "prefetch": 2,  # batches ready in each of them
      "device_prefetch": 2,  # batches ready on the devices
      "read_attempts": 5,  # of one record, with pauses of 1, 2, 4, 8 s
      "read_timeout": 60.0,  # seconds for each
      "batch_timeout": 1800.0,  # seconds; the run stops if no batch comes
      "max_pixels": 170_000_000,  # an image above is skipped
    }
  )

  config.optim = ml_collections.ConfigDict(
    {
      "moments_dtype": "float32",  # ours; bfloat16 halves their memory
      "max_nonfinite_steps": 20,  # ours: skipped in a row before it stops
    }
  )

  # Sizes of the mesh axes; -1 takes the devices that the others leave.
  config.mesh = ml_collections.ConfigDict(
    {"data": 1, "fsdp": -1, "sequence": 1, "tensor": 1}
  )

  # Which mesh axes an axis of the model is cut along: names joined by "+", ""
  # for none. The batch is cut along data and fsdp.
  config.sharding = ml_collections.ConfigDict(
    {
      "tokens": "sequence",
      "embed": "fsdp",
      "heads": "tensor",
      "mlp": "tensor",
      "layers": "",  # the stacking axis of a segment of blocks
    }
  )

  config.checkpoint = ml_collections.ConfigDict(
    {
      # Steps between saves. 0 derives them from what a save costs and
      # mtbf_hours (Young's formula, 1 to 60 minutes): ours, because cost and
      # step time differ a hundredfold between sizes and slices.
      "every": 0,
      "mtbf_hours": 24.0,  # ours: between failures or preemptions of the job
      "keep_last": 3,
      "keep_every": 50_000,  # steps; saved in any case, and kept for ever
      # Steps between saves to a disk of each host, in between; 0: none. Needs
      # mesh.data of at least 2: all parts of it but the first save.
      "local_every": 0,
      "local_directory": "",  # on that disk
    }
  )

  # Of a job of several processes. "" and -1: from JAX_COORDINATOR_ADDRESS,
  # JAX_NUM_PROCESSES and JAX_PROCESS_ID, or as JAX finds out on Cloud TPU,
  # SLURM, GKE and Open MPI. Nothing of it: this process is the only one.
  config.distributed = ml_collections.ConfigDict(
    {
      "coordinator_address": "",  # host:port of process 0
      "num_processes": -1,
      "process_id": -1,
      "start_timeout": 300.0,  # seconds for all processes to come together
      "heartbeat_timeout": 100.0,  # seconds of silence: a process is dead
    }
  )

  # A run in which nothing moves for so many seconds ends, to be restarted.
  config.watchdog = ml_collections.ConfigDict(
    {
      "timeout": 2700.0,  # for a step, a save; above data.batch_timeout
      "start_timeout": 3600.0,  # while it starts, restores, compiles
    }
  )

  config.logging = ml_collections.ConfigDict({"every": 50})  # steps

  if size == "toy":
    _make_toy(config)
  return config


def _make_toy(config: ml_collections.ConfigDict) -> None:
  """Shrinks everything for minutes on two CPU cores; all values: ours."""
  config.model.update(
    dtype="float32", layer_scale_init=0.1, scan=False, remat="none"
  )
  config.data.update(num_workers=0)
  config.checkpoint.update(every=50, keep_last=2, keep_every=1000)
  config.logging.update(every=5)

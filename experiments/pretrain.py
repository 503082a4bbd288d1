r"""Joint pretraining (masked reconstruction + self-distillation), any size.

Run:    python -m sapiens2_jax.train --workdir runs/p04 \
          --config experiments/pretrain.py:size=0.4b \
          --config.data.path=/data/corpus
Smoke:  --config experiments/pretrain.py:size=toy (CPU, minutes)
Sizes:  toy 0.1b 0.4b 0.8b 1b 5b, at 1024 x 768
Needs:  for all sizes but toy a TPU or GPU mesh [estimate; not yet run]

Every value is marked: `paper` is published (arXiv 2604.21681), `DINOv3` and
`MAE` come from those code bases, `ours` is a choice of this project.
"""

import ml_collections

from sapiens2_jax.config import parse_argument


def get_config(argument: str = "size=0.4b") -> ml_collections.ConfigDict:
  size = parse_argument(argument, size="0.4b")["size"]
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
      "decoder_dim": 512,  # paper
      "decoder_layers": 8,  # paper
      "decoder_heads": 4,  # ours: heads of 128 fill the matrix unit of a TPU
      "prototypes": 65536,  # ours: DINOv3's default
      "head_hidden_dim": 2048,  # DINOv3
      "bottleneck_dim": 256,  # DINOv3
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
      "global_batch_size": 2048,  # ours: 500k steps = 1 billion images
      "accumulation_steps": 1,
      "image_size": (1024, 768),  # paper: height, width of global crops
      "local_size": (512, 384),  # ours: as many tokens as a masked global
      "num_global": 2,  # paper
      "num_local": 4,  # paper
      "global_area": (0.5, 1.0),  # paper: share of the image's area
      "local_area": (0.2, 0.7),  # paper
      "num_workers": 16,  # processes that decode; 0: threads in this one
      "prefetch": 2,  # batches ready in each of them
      "device_prefetch": 2,  # batches ready on the devices
      "read_attempts": 5,  # of one record, with pauses of 1, 2, 4, 8 s
      "read_timeout": 60.0,  # seconds for each
      "batch_timeout": 1800.0,  # seconds; the run stops if no batch comes
      "max_pixels": 170_000_000,  # an image above is skipped
      "max_skipped_share": 0.01,  # ours: the run stops above
    }
  )

  # "standard" augmentation of local crops: DINO family. Globals only flip:
  # they carry the reconstruction target (paper).
  config.augment = ml_collections.ConfigDict(
    {
      "brightness": 0.4,
      "contrast": 0.4,
      "saturation": 0.2,
      "hue": 0.1,
      "jitter_probability": 0.8,
      "grayscale_probability": 0.2,
      "blur_probability": 0.5,
      "blur_sigma": (0.1, 2.0),  # pixels
      "solarize_probability": 0.2,
    }
  )

  config.masking = ml_collections.ConfigDict(
    {
      "mask_ratio": 0.75,  # paper
      "block_probability": 0.4,  # paper
    }
  )

  config.objective = ml_collections.ConfigDict(
    {
      "w_mae": 1.0,  # paper
      "w_cl": 0.4,  # paper
      "w_koleo": 0.04,  # paper
      "target": "center",  # paper; "sinkhorn": DINOv3
      "student_temp": 0.1,  # paper
      "teacher_temp_start": 0.065,  # paper
      "teacher_temp": 0.07,  # paper
      "teacher_temp_steps": 1000,  # paper
      "teacher_momentum": 0.992,  # paper
      "center_momentum": 0.9,  # paper
      "koleo_group_size": 16,  # DINOv3; consecutive samples of the batch
    }
  )

  config.optim = ml_collections.ConfigDict(
    {
      "num_steps": 500_000,  # paper
      "warmup_steps": 1000,  # paper
      "peak_lr": 1e-4,  # paper
      "final_lr": 1e-7,  # paper
      "b1": 0.9,  # paper
      "b2": 0.95,  # paper
      "eps": 1e-8,  # ours: the usual one
      "weight_decay": 0.05,  # paper
      "clip_norm": 5.0,  # paper
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
      "prototypes": "tensor",
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
    dtype="float32",
    layer_scale_init=0.1,
    scan=False,
    remat="none",
    decoder_dim=128,
    decoder_layers=4,
    prototypes=512,
    head_hidden_dim=256,
    bottleneck_dim=64,
  )
  config.data.update(
    global_batch_size=16,
    image_size=(128, 96),
    local_size=(64, 48),
    num_workers=0,
  )
  # A sharper teacher: at the paper's temperature its targets stay uniform for
  # thousands of steps. Groups of 8: one epoch of the eight sample photographs,
  # so that KoLeo does not part two views of one photograph.
  config.objective.update(
    teacher_temp_start=0.02, teacher_temp=0.02, koleo_group_size=8
  )
  config.optim.update(num_steps=220, warmup_steps=20, peak_lr=2e-3)
  config.checkpoint.update(every=50, keep_last=2, keep_every=1000)
  config.logging.update(every=5)

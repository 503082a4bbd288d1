"""Depth of people in metres: a task of another package than sapiens2_jax."""

from depth_task.definition import TASK

__all__ = ["TASK"]

"""An experiment file whose argument is the seed of a made-up config."""

from tests.validation.made_configs import get_config

__all__ = ["get_config"]

"""Pretrained backbones: by name, from checkpoints, or trained here once."""

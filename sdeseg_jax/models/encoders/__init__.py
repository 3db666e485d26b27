"""Encoders by name: networks whose five features the decoders build on."""

from sdeseg_jax.models.encoders.registry import ENCODERS, Encoder, encoder_name, make_encoder

__all__ = ["ENCODERS", "Encoder", "encoder_name", "make_encoder"]

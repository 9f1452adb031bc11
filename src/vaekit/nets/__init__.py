"""Encoders and decoders, for any height, width and channel count."""

from .conv import ConvDecoder, ConvEncoder
from .mixer import MixerDecoder, MixerEncoder
from .mlp import MLPDecoder, MLPEncoder
from .resnet import ResNetDecoder, ResNetEncoder

NETS = {
    "mlp": (MLPEncoder, MLPDecoder),
    "conv": (ConvEncoder, ConvDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
    "mixer": (MixerEncoder, MixerDecoder),
}

SPATIAL = ("conv", "resnet")  # that can keep places for latents of their own

__all__ = [
    "NETS",
    "SPATIAL",
    "ConvDecoder",
    "ConvEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "MixerDecoder",
    "MixerEncoder",
    "ResNetDecoder",
    "ResNetEncoder",
]

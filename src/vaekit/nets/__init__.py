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

__all__ = [
    "NETS",
    "ConvDecoder",
    "ConvEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "MixerDecoder",
    "MixerEncoder",
    "ResNetDecoder",
    "ResNetEncoder",
]

"""A trained model for others: as ONNX files that run without torch, and as one page that opens anywhere."""

from .networks import networks, write_networks
from .page import page_of, write_folder, write_page

__all__ = ["networks", "page_of", "write_folder", "write_networks", "write_page"]

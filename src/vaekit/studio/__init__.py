"""A local web page to see, walk and edit latent spaces, and the same page as one file."""

from .beside import beside
from .bundle import Bundle, bundle_of
from .server import application, serve
from .shown import Wish

__all__ = ["Bundle", "Wish", "application", "beside", "bundle_of", "serve"]

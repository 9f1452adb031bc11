"""The report: the pictures of a run, and one self-contained page with them."""

from .page import Details, Fact, FigureOnPage, Section, Table, write_page
from .story import write_report

__all__ = ["Details", "Fact", "FigureOnPage", "Section", "Table", "write_page", "write_report"]

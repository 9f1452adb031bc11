"""The parts of a drawn face; `vaekit.data.drawn_faces` puts them together."""

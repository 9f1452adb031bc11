// What is under the cross of the map: a picture beside its reconstruction, or what the decoder makes of a place between them.

import { el } from "studio/dom.js";

/** Its parts, whose texts, pictures and numbers the map sets; open: what the button does. */
export function herePanel(open) {
  const [original, rebuilt] = [frame("Picture"), frame("Reconstruction")];
  const told = el("p.told", {}, "Move over the map: between the points the decoder shows what would be there.");
  const bounds = { min: 0, max: 1, low: 0.35, high: 0.7, optimum: 1 };
  const meter = el("meter", { ...bounds, "aria-label": "How far the map can be trusted here" });
  const trust = el("div.trust", { hidden: true }, "Reliability ", meter); // an empty meter would say that it is none
  const edit = el("button", { onclick: open, disabled: true }, "Edit this");
  const parts = [el("h2", {}, "Here"), el("div.pair", {}, original.figure, rebuilt.figure), told, trust, edit];
  return {
    parts,
    original,
    rebuilt,
    edit,
    /** What is told of it, and how far to believe it. */
    tell(text, reliability) {
      meter.value = reliability;
      trust.hidden = false;
      told.textContent = text;
    },
  };
}

/** The place of a picture, with a caption; as long as it is empty, one sees that something belongs there. */
function frame(text) {
  const canvas = el("canvas.shown", { role: "img" });
  const caption = el("figcaption");
  const figure = el("figure", {}, canvas, caption);
  const set = (text, isEmpty) => {
    figure.classList.toggle("empty", isEmpty);
    canvas.setAttribute("aria-hidden", isEmpty);
    canvas.setAttribute("aria-label", text);
    caption.textContent = text;
  };
  const clear = (text) => {
    set(text, true);
    canvas.width = canvas.width; // as HTML has it, that wipes it
  };
  clear(text);
  return {
    figure,
    clear,
    /** draw(canvas) draws it. */
    show(text, draw) {
      draw(canvas);
      set(text, false);
    },
  };
}

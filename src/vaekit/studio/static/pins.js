// Codes that were kept: to look at beside each other, to add and subtract, and to morph from one to the next.

import { download, el, field, latest, paint, say, select, slider } from "studio/dom.js";
import { added, along } from "studio/space.js";

const FRAMES = 24; // of a film, for every leg of the way, which takes a second
const LEG = 1500; // ms that a leg plays

const letter = (i) => String.fromCharCode(65 + i);

/** page.pins: [{z, rgba, name, given}]; reopen(from) starts the editor from one; leave() takes the keyboard when none is left. */
export function pinBoard(page, reopen, leave) {
  const { run } = page;
  const pins = el("div.pins");
  const sum = el("div.controls");
  const way = el("div.controls.way");
  const film = el("canvas.shown.film", { role: "img", "aria-label": "The morph" });
  let playing = null;
  let kind = "slerp";
  let picked = []; // the pins of the sum

  function changed() {
    pins.replaceChildren(...page.pins.map(pinFigure));
    arithmetic();
    morphing();
  }

  function pinFigure(its, i) {
    const canvas = el("canvas.small", { role: "img", "aria-label": its.name });
    paint(canvas, its.rgba, run.width, run.height);
    const open = () => reopen({ z: its.z, what: its.name, given: its.given });
    const remove = () => {
      page.pins.splice(i, 1);
      changed();
      if (page.pins.length) pins.children[Math.min(i, page.pins.length - 1)].querySelector("button").focus();
      else leave();
    };
    return el(
      "figure.pin",
      { title: its.name },
      el("button.bare", { onclick: open, "aria-label": `Edit pin ${letter(i)}` }, canvas),
      el("figcaption", {}, letter(i), el("button.bare", { onclick: remove, "aria-label": `Remove pin ${letter(i)}` }, "×")),
    );
  }

  function arithmetic() {
    sum.hidden = page.pins.length < 3;
    if (sum.hidden) return;
    const options = page.pins.map((_, i) => [String(i), letter(i)]);
    picked = [0, 1, 2].map((slot) => (page.pins.includes(picked[slot]) ? picked[slot] : page.pins[slot]));
    const [a, b, c] = picked.map((its, slot) => select(options, String(page.pins.indexOf(its)), (next) => (picked[slot] = page.pins[+next])));
    [a, b, c].forEach((each, i) => each.setAttribute("aria-label", ["First", "minus", "plus"][i]));
    const show = () => {
      const [x, y, z] = picked;
      const [p, q, r] = picked.map((its) => letter(page.pins.indexOf(its)));
      reopen({ z: added(added(x.z, y.z, -1), z.z), what: `${p} − ${q} + ${r}`, given: x.given });
    };
    sum.replaceChildren(a, " − ", b, " + ", c, el("button", { onclick: show }, "Show"));
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = null;
  }

  function morphing() {
    stop();
    way.hidden = film.hidden = page.pins.length < 2;
    if (way.hidden) return;
    const stops = page.pins.map((its) => its.z);
    const legs = stops.length - 1;
    // What a conditional model is told cannot be between two things: it is the nearer pin's.
    const frame = (t) => ({ z: along(stops, t, kind), given: page.pins[Math.round(t * legs)].given });
    const at = latest(async (t) => {
      const { z, given } = frame(t);
      paint(film, await run.decode(z, given), run.width, run.height);
    });
    const time = slider({ low: 0, high: 1, step: 0.005, value: 0, label: "Along the way", format: (t) => `${Math.round(100 * t)} %`, oninput: at });
    const play = el("button", {}, "Play");
    play.onclick = () => {
      if (playing !== null) {
        stop();
        play.textContent = "Play";
        return;
      }
      play.textContent = "Stop";
      const once = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const began = performance.now();
      const tick = (now) => {
        const gone = Math.max(0, now - began) / (LEG * legs);
        const t = once ? Math.min(gone, 1) : 1 - Math.abs(1 - (gone % 2)); // there and back
        time.set(t);
        at(t);
        if (once && gone >= 1) {
          stop();
          play.textContent = "Play";
        } else playing = requestAnimationFrame(tick);
      };
      playing = requestAnimationFrame(tick);
    };
    const each = Math.max(1, Math.min(FRAMES, Math.floor((run.mostFrames - 1) / legs))); // a long way takes larger steps
    const frames = () => Array.from({ length: each * legs + 1 }, (_, i) => frame(i / (each * legs)));
    const save = (format) => async () => {
      download(await run.film(frames(), format, each), `morph.${format}`);
      say("Saved");
    };
    const ways = select([["slerp", "along the sphere"], ["lerp", "straight"]], kind, (value) => {
      kind = value;
      at(+time.input.value);
    });
    const saves = run.filmsOf(page.pins, each * legs + 1).map((format) => el("button", { onclick: save(format) }, `Save ${format.toUpperCase()}`));
    way.replaceChildren(field("Way", ways), time.input, time.told, play, ...saves);
    at(0);
  }

  changed();
  return {
    section: el(
      "section.wide",
      { "aria-label": "Pins" },
      el("h2", {}, "Pins"),
      el("p.hint", {}, "Pin two codes to morph between them, three to add and subtract them."),
      pins,
      sum,
      el("div.morph", {}, film, way),
    ),
    close: stop,
    add(its) {
      page.pins.push(its);
      changed();
      say(`Pinned as ${letter(page.pins.length - 1)}`);
    },
  };
}

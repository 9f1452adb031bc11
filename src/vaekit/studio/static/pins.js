// Codes that were kept: to look at beside each other, to add and subtract, and to morph from one to the next.

import { download, el, field, latest, paint, say, select, slider } from "studio/dom.js";
import { added, along } from "studio/space.js";

const FRAMES = 24; // of a film, for every leg of the way
const LEG = 1500; // ms that a leg plays

const letter = (i) => String.fromCharCode(65 + i);

/** page.pins: [{z, rgba, name, given}]; reopen(from) starts the editor from one. */
export function pinBoard(page, reopen) {
  const { run } = page;
  const pins = el("div.pins");
  const sum = el("div.controls");
  const way = el("div.controls.way");
  const film = el("canvas.shown.film", { role: "img", "aria-label": "The morph" });
  let playing = null;
  let kind = "slerp";

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
      pins.children[Math.min(i, page.pins.length - 1)]?.querySelector("button").focus();
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
    const picked = ["0", "1", "2"];
    const [a, b, c] = picked.map((value, slot) => select(options, value, (next) => (picked[slot] = next)));
    [a, b, c].forEach((each, i) => each.setAttribute("aria-label", ["First", "minus", "plus"][i]));
    const show = () => {
      const [x, y, z] = picked.map((i) => page.pins[+i]);
      const [p, q, r] = picked.map((i) => letter(+i));
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
    const { given } = page.pins[0];
    const at = latest(async (t) => paint(film, await run.decode(along(stops, t, kind), given), run.width, run.height));
    const time = slider({ low: 0, high: 1, step: 0.005, value: 0, label: "Along the way", format: (t) => `${Math.round(100 * t)} %`, oninput: at });
    const play = el("button", {}, "Play");
    play.onclick = () => {
      if (playing !== null) {
        stop();
        play.textContent = "Play";
        return;
      }
      play.textContent = "Stop";
      const began = performance.now();
      const tick = (now) => {
        const t = (Math.max(0, now - began) / (LEG * (stops.length - 1))) % 2;
        time.set(t > 1 ? 2 - t : t);
        at(t > 1 ? 2 - t : t);
        playing = requestAnimationFrame(tick);
      };
      playing = requestAnimationFrame(tick);
    };
    const save = (format) => async () => {
      const n = FRAMES * (stops.length - 1);
      const all = Array.from({ length: n + 1 }, (_, i) => along(stops, i / n, kind));
      download(await run.film(all, format, given), `morph.${format}`);
      say("Saved");
    };
    const ways = select([["slerp", "along the sphere"], ["lerp", "straight"]], kind, (value) => {
      kind = value;
      at(+time.input.value);
    });
    const saves = run.films.map((format) => el("button", { onclick: save(format) }, `Save ${format.toUpperCase()}`));
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

// How trainings go: curves, figures, and what the doctor sees, of several runs side by side; live while one trains.

import { el, failed, paint } from "studio/dom.js";
import { rgbaOf } from "studio/run.js";
import { quoted } from "studio/taking.js";

const EVERY = 2000; // ms between two looks while something trains
const SELDOM = 10_000; // and while nothing does: it may go on
const RECORDS = 8000; // of a log, more than which are asked for anew: they come thinned
const CURVES = [
  ["elbo", "ELBO, nats"],
  ["distortion", "distortion, nats"],
  ["rate", "rate, nats"],
  ["loss", "loss, nats"],
  ["images_per_second", "images/s, training"],
];
const INK = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const TICKS = 4; // steps of an axis, about
const UNITS = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const DASHES = ["none", "7 4", "2 3", "10 3 2 3"]; // where there are more runs than colours

export async function runsView(page) {
  const { source } = page;
  const logs = new Map();
  const cards = el("div.cards");
  const curves = el("div.curves");
  const figures = el("div.figures", { tabIndex: 0, role: "region", "aria-label": "Figures" });
  const film = el("div.row.film", { tabIndex: 0, role: "region", "aria-label": "The same codes over time" });
  let seen = null;
  let drawn = null;
  let timer = null;
  let closed = false;

  async function look() {
    let running = true; // until it is known
    try {
      const listed = await source.listed();
      const chosen = listed.find((its) => its.name === page.name);
      // Nats of other pictures, or of another size of them, do not compare; why a run cannot be read is told beside any.
      const compares = (its) => its.data === chosen.data && String(its.image) === String(chosen.image);
      const all = listed.filter((its) => its.status === "unreadable" || compares(its));
      running = all.some((its) => its.status === "running" || its.status === "new");
      const followed = await Promise.allSettled(all.map(follow));
      if (closed) return;
      const troubles = followed.map(({ reason }) => reason?.message);
      const now = JSON.stringify([all, troubles, [...logs.values()].map(({ at }) => at)]);
      if (now !== drawn) draw(all, troubles); // else what somebody points at or has marked would go
      drawn = now;
      if (chosen.state && chosen.state !== seen) {
        await samples(chosen.name);
        seen = chosen.state; // whatever failed is asked for again
      }
    } catch (error) {
      failed(error); // and look again: the studio may be back by then
    } finally {
      if (!closed) timer = setTimeout(look, running ? EVERY : SELDOM);
    }
  }

  async function follow(its) {
    const kept = logs.get(its.name) ?? logs.set(its.name, { records: [], at: 0 }).get(its.name);
    for (let more = true; more; ) {
      const { records, from, at } = await source.log(its.name, kept.at);
      if (from === 0) kept.records = [];
      for (const record of records) kept.records.push(record);
      more = records.length && at !== kept.at;
      kept.at = at;
    }
    if (kept.records.length > RECORDS) kept.at = 0;
  }

  function draw(all, troubles) {
    cards.replaceChildren(
      ...all.map((its, i) =>
        el(
          "article.card",
          {},
          el("h3", {}, swatch(i), its.name),
          el("p", {}, its.images === undefined ? its.status : `${its.status}, ${its.images.toLocaleString("en")} images seen`),
          ...[...new Set([its.error, troubles[i]])].filter(Boolean).map((text) => el("p.finding", {}, text)),
          ...its.findings.map((found) => el("p.finding", {}, el("b", {}, found.name), `: ${found.measured}. Try ${found.mend}`)),
          its.path && el("p.hint", {}, "The whole examination: ", el("code", {}, `vaekit doctor ${quoted(its.path)}`)),
        ),
      ),
    );
    curves.replaceChildren(
      ...CURVES.map(([key, text]) => {
        const split = key === "images_per_second" ? "train" : "validation";
        const lines = all.map((its) =>
          logs
            .get(its.name)
            .records.filter((record) => record.split === split && Number.isFinite(record[key]))
            .map((record) => [record.images, record[key]]),
        );
        const names = all.map((its) => its.name);
        return lines.some((line) => line.length) ? chart(text, lines, names) : null;
      }).filter(Boolean),
    );
    table(all);
  }

  /** Pictures of the same few codes, by each state of the weights that the studio saw. */
  async function samples(name) {
    const some = await source.now(name);
    const { shape, images, bytes } = await source.earlier(name);
    if (closed) return;
    const [columns, n, height, width, channels] = shape;
    const rgba = rgbaOf(bytes, channels);
    const size = 4 * height * width;
    const picture = (place, count) => {
      const canvas = el("canvas.small", { role: "img", "aria-label": `Sample after ${count} images` });
      paint(canvas, rgba.slice(place * size, (place + 1) * size), width, height);
      return canvas;
    };
    const column = (count, t) => {
      const pictures = Array.from({ length: n }, (_, i) => picture(t * n + i, count));
      return el("figure", {}, ...pictures, el("figcaption", {}, count.toLocaleString("en")));
    };
    if (columns) film.replaceChildren(...images.map(column));
    else if (!some) film.replaceChildren(el("p.hint", {}, "This model has no prior to draw codes from."));
  }

  function table(all) {
    const names = [...new Set(all.flatMap((its) => Object.keys(its.metrics)))].filter((name) => !name.startsWith("weight_"));
    if (!names.length) return;
    const cell = (metric) => {
      if (!metric) return el("td.number", {}, "");
      const around = metric.interval ? el("small", {}, ` ${metric.interval.map(short).join(" to ")}`) : null;
      return el("td.number", { title: metric.how }, short(metric.value), around);
    };
    const row = (name) => {
      const some = all.map((its) => its.metrics[name]);
      return el("tr", {}, el("th", { scope: "row" }, name.replaceAll("_", " ")), ...some.map(cell), el("td", {}, some.find(Boolean).unit));
    };
    const heads = all.map((its) => el("th.number", { scope: "col" }, its.name));
    figures.replaceChildren(
      el(
        "table",
        {},
        el("caption", {}, "With 95 % over images where they have one"),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "figure"), ...heads, el("th", { scope: "col" }, "unit"))),
        el("tbody", {}, ...names.map(row)),
      ),
    );
  }

  const made = el(
    "div.runs",
    {},
    cards,
    curves,
    el("section.wide", {}, el("h2", {}, "The same codes over time"), film),
    el("section.wide", {}, el("h2", {}, "Figures"), figures),
  );
  made.close = () => {
    closed = true;
    clearTimeout(timer);
  };
  look();
  return made;
}

function short(value) {
  const plain = Math.abs(value) >= 1e4 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toPrecision(4);
  return plain.replace("-", "−");
}

function svg(what, given, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", what);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** How the line of the i-th run is drawn. */
function inkOf(i) {
  const dashes = DASHES[Math.floor(i / INK.length) % DASHES.length];
  return { fill: "none", stroke: INK[i % INK.length], "stroke-width": 2, "stroke-dasharray": dashes };
}

/** A piece of that line, beside its name. */
function swatch(i) {
  return svg("svg", { viewBox: "0 0 28 10", class: "ink", "aria-hidden": "true" }, svg("path", { ...inkOf(i), d: "M0 5H28" }));
}

/** Round numbers from low to high, [[value, text]]: steps of 1, 2 or 5 times a power of ten. */
export function ticks(low, high) {
  const rough = (high - low) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => Math.SQRT2 * each * power >= rough);
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step;
    const [by, unit] = UNITS.find(([size]) => size === 1 || size <= Math.min(Math.abs(value), 10 * step)); // one decimal
    const round = +(value / by).toPrecision(9);
    return [value, `${Math.abs(round) < 1e3 ? round : round.toLocaleString("en")}${unit}`.replace("-", "−")];
  });
}

/** Lines [[x, y], ...] over images seen, as SVG. */
export function chart(title, lines, names) {
  const [width, height, left, right, bottom, top] = [360, 200, 62, 18, 22, 12];
  const all = lines.flat();
  const ys = Float64Array.from(all, ([, y]) => y).sort();
  let [low, high] = [ys[Math.floor(0.02 * (ys.length - 1))], ys[Math.ceil(0.98 * (ys.length - 1))]];
  if (high - low <= 1e-6 * Math.abs(high)) {
    const room = Math.abs(high) / 2 || 1; // around a level line
    [low, high] = [low - room, high + room];
  }
  const most = all.reduce((found, [x]) => Math.max(found, x), 1);
  const x = (value) => left + ((width - left - right) * value) / most;
  const y = (value) => top + (height - top - bottom) * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
  const ends = lines.map((line, i) => (line.length ? `${names[i]} ${short(line.at(-1)[1])}` : null)).filter(Boolean);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, at last: ${ends.join(", ")}` });
  for (const [value, text] of ticks(low, high)) {
    drawn.append(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "rule" }));
    drawn.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  const ground = height - bottom;
  drawn.append(svg("line", { x1: left, x2: width - right, y1: ground, y2: ground, class: "rule" }));
  for (const [value, text] of ticks(0, most)) {
    drawn.append(svg("line", { x1: x(value), x2: x(value), y1: ground, y2: ground + 4, class: "rule" }));
    drawn.append(svg("text", { x: x(value), y: height - 5, "text-anchor": "middle" }, text));
  }
  lines.forEach((line, i) => {
    if (!line.length) return;
    const path = line.map(([a, b], at) => `${at ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    const [a, b] = line.at(-1);
    const ink = inkOf(i);
    const end = svg("circle", { cx: x(a), cy: y(b), r: 3, fill: ink.stroke });
    drawn.append(svg("g", {}, svg("title", {}, names[i]), svg("path", { ...ink, d: path }), end));
  });
  return el("figure.chart", {}, drawn, el("figcaption", {}, `${title}, over images seen`));
}

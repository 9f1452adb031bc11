// How trainings go: curves, figures, and what the doctor sees, of several runs side by side; live while one trains.

import { el, paint, say } from "studio/dom.js";
import { rgbaOf } from "studio/run.js";

const EVERY = 2000; // ms between two looks while something trains
const SELDOM = 10_000; // and while nothing does: it may go on
const CURVES = [
  ["elbo", "ELBO, nats"],
  ["distortion", "distortion, nats"],
  ["rate", "rate, nats"],
  ["loss", "loss, nats"],
  ["images_per_second", "images/s, training"],
];
const INK = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

export async function runsView(page) {
  const { source } = page;
  const logs = new Map();
  const cards = el("div.cards");
  const curves = el("div.curves");
  const figures = el("div.figures", { tabIndex: 0, role: "region", "aria-label": "Figures" });
  const film = el("div.row.film", { tabIndex: 0, role: "region", "aria-label": "The same codes over time" });
  const columns = new Set(); // of how many images the weights of each column had seen
  let seen = null;
  let timer = null;
  let closed = false;

  async function look() {
    let running = true; // until it is known
    try {
      const listed = await source.listed();
      const chosen = listed.find((its) => its.name === page.name);
      // Nats of other pictures, or of another size of them, do not compare.
      const all = listed.filter((its) => its.data === chosen.data && String(its.image) === String(chosen.image));
      running = all.some((its) => its.status === "running" || its.status === "new");
      await Promise.all(all.map(follow));
      if (closed) return;
      draw(all);
      if (chosen.state && chosen.state !== seen) {
        await samples(chosen.name);
        seen = chosen.state; // whatever failed is asked for again
      }
    } catch (error) {
      say(error.message); // and look again: the studio may be back by then
    } finally {
      if (!closed) timer = setTimeout(look, running ? EVERY : SELDOM);
    }
  }

  async function follow(its) {
    const kept = logs.get(its.name) ?? logs.set(its.name, { records: [], at: 0 }).get(its.name);
    for (;;) {
      const { records, at } = await source.log(its.name, kept.at);
      if (at < kept.at) kept.records = [];
      kept.records.push(...records);
      const more = records.length && at !== kept.at;
      kept.at = at;
      if (!more) return;
    }
  }

  function draw(all) {
    cards.replaceChildren(
      ...all.map((its, i) =>
        el(
          "article.card",
          {},
          el("h3", {}, el("i.ink", { style: `background: ${INK[i % INK.length]}` }), its.name),
          el("p", {}, its.error ?? `${its.status}, ${its.images.toLocaleString("en")} images seen`),
          ...its.findings.map((found) => el("p.finding", {}, el("b", {}, found.name), `: ${found.measured}. Try ${found.mend}`)),
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
        return lines.some((line) => line.length) ? chart(text, lines) : null;
      }).filter(Boolean),
    );
    table(all);
  }

  /** Pictures of the same few codes by every new state of the weights; a model without a prior has none. */
  async function samples(name) {
    const { shape, bytes, images } = await source.now(name);
    const [n, height, width, channels] = shape;
    if (!n || columns.has(images) || closed) return; // vectors and densities make another state too, of the same weights
    columns.add(images);
    const rgba = rgbaOf(bytes, channels);
    const size = 4 * height * width;
    const column = el("figure");
    for (let i = 0; i < n; i++) {
      const canvas = el("canvas.small", { role: "img", "aria-label": `Sample after ${images} images` });
      paint(canvas, rgba.slice(i * size, (i + 1) * size), width, height);
      column.append(canvas);
    }
    column.append(el("figcaption", {}, images.toLocaleString("en")));
    film.append(column);
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

/** Lines [[x, y], ...] over images seen, as SVG. */
export function chart(title, lines) {
  const [width, height, left, bottom, top] = [360, 200, 62, 26, 12];
  const all = lines.flat();
  const xs = all.map(([x]) => x);
  const ys = all.map(([, y]) => y).sort((a, b) => a - b);
  const [low, high] = [ys[Math.floor(0.02 * (ys.length - 1))], ys[Math.ceil(0.98 * (ys.length - 1))]];
  const span = high - low || 1;
  const most = Math.max(...xs, 1);
  const x = (value) => left + ((width - left - 8) * value) / most;
  const y = (value) => top + (height - top - bottom) * (1 - (Math.min(Math.max(value, low), high) - low) / span);
  const svg = (what, given, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", what);
    for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, ${lines.map((line) => short(line.at(-1)?.[1] ?? NaN)).join(", ")} at last` });
  for (const share of [0, 0.5, 1]) {
    const value = low + share * span;
    drawn.append(svg("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value), class: "rule" }));
    drawn.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  drawn.append(svg("text", { x: width - 8, y: height - 8, "text-anchor": "end" }, `${short(most)} images`));
  lines.forEach((line, i) => {
    if (!line.length) return;
    const path = line.map(([a, b], at) => `${at ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    drawn.append(svg("path", { d: path, fill: "none", stroke: INK[i % INK.length], "stroke-width": 2 }));
    const [a, b] = line.at(-1);
    drawn.append(svg("circle", { cx: x(a), cy: y(b), r: 3, fill: INK[i % INK.length] }));
  });
  return el("figure.chart", {}, drawn, el("figcaption", {}, title));
}

// The map: every picture a point, and anything between them decoded where one points.

import { choices, coloured } from "studio/colour.js";
import { el, field, latest, paint, say, select } from "studio/dom.js";
import { groupPanel } from "studio/group.js";
import { hands } from "studio/hands.js";
import { herePanel } from "studio/here.js";
import { Points } from "studio/points.js";
import { clamped, Grid, inside, Inverse, opacity, PackedCodes } from "studio/space.js";
import { terrainLayer } from "studio/terrain.js";

const NEAR = 10; // pixels around a point that are the point
const THUMBS = 400; // points in view, from which they are shown as pictures
const KINDS = 24; // in the legend
const WAIT = 200; // ms without a move, after which terrain and address follow
const ZOOM = [0.25, 4000]; // of the scale that shows all

export async function mapView(page) {
  const { run, state } = page;
  const { manifest } = run;
  const points = await run.array("points");
  const codes = new PackedCodes(await run.array("mu"), manifest.code);
  const [labels, score, splits] = [await run.array("label"), await run.array("score"), await run.array("split")];
  const grid = await run.once("grid", () => new Grid(points));
  const inverse = await run.once("inverse", () => new Inverse(grid, codes, manifest.direct));
  const { box } = grid;

  const layers = ["terrain", "points", "over"].map((name) => el(`canvas.${name}`, { "aria-hidden": "true" }));
  const [terrain, dots, over] = layers;
  const plane = el(
    "div.plane",
    {
      tabIndex: 0,
      role: "application",
      "aria-label":
        "Map of codes. Arrow keys move a cross, plus and minus zoom, Enter opens what is under the cross in the editor, L draws a lasso around it, 0 shows all.",
    },
    layers,
  );
  const side = el("aside.side", { tabIndex: 0, "aria-label": "What is under the pointer" });
  let drawn = new Points(dots);
  drawn.set("position", points);

  const view = { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, scale: 1 };
  const at = { spot: null, place: null, drawn: false }; // the cross in data units, the point that it is on, and whether it is drawn
  const ink = { side: 0, alpha: 0 }; // of a dot: its side in data units, and how opaque it is
  let colours = null;
  let fitted = false;
  let lasso = null;
  let chosen = [];
  let closed = false;
  let waiting = null;

  // Where things are

  const size = () => [plane.clientWidth, plane.clientHeight];
  const toData = ([px, py]) => {
    const [w, h] = size();
    return [view.x + (px - w / 2) / view.scale, view.y - (py - h / 2) / view.scale];
  };
  const toPixel = (x, y) => {
    const [w, h] = size();
    return [(x - view.x) * view.scale + w / 2, h / 2 - (y - view.y) * view.scale];
  };
  const whole = () => {
    const [w, h] = size();
    const wide = Math.max(box[2] - box[0], 1e-6);
    const high = Math.max(box[3] - box[1], 1e-6);
    return 0.92 * Math.min(w / wide, h / high);
  };
  /** Look there, but not so far away that no point is near. */
  function aim(x, y, scale) {
    const side = Math.max(box[2] - box[0], box[3] - box[1], 1e-6);
    view.x = clamped(x, box[0] - side, box[2] + side);
    view.y = clamped(y, box[1] - side, box[3] + side);
    view.scale = clamped(scale, ZOOM[0] * whole(), ZOOM[1] * whole());
  }
  function showAll() {
    aim((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, whole());
    moved();
  }
  function zoom(factor, [px, py] = size().map((each) => each / 2)) {
    const [x, y] = toData([px, py]);
    aim(view.x, view.y, view.scale * factor);
    const [nx, ny] = toData([px, py]);
    aim(view.x + x - nx, view.y + y - ny, view.scale);
    moved();
  }
  function pan(dx, dy) {
    aim(view.x - dx / view.scale, view.y + dy / view.scale, view.scale);
    moved();
  }
  /** The cross in pixels, or the middle; one that is out of view counts as at its edge. */
  function cross() {
    const [w, h] = size();
    const [px, py] = at.spot ? toPixel(...at.spot) : [w / 2, h / 2];
    return [clamped(px, 0, w), clamped(py, 0, h)];
  }
  /** What the cross is on, at once; whatever is decoded comes later. */
  function look(pixel, aloud = false) {
    const spot = toData(pixel);
    const [near] = grid.nearest(...spot, 1);
    Object.assign(at, { spot, place: near?.distance * view.scale < NEAR ? near.place : null, drawn: true });
    redraw();
    show(aloud);
  }

  // Drawing: one frame however many things changed

  let due = false;
  function redraw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      if (!fitted || !colours || closed) return;
      const began = performance.now();
      const close = view.scale / whole();
      const dot = Math.min(11, Math.max(1, 230 / Math.sqrt(points.length / 2)) * Math.sqrt(close) + 1);
      const side = dot / view.scale;
      if (ink.side !== side) Object.assign(ink, { side, alpha: opacity(grid.layers(side)) });
      drawn.draw(view, dot, ink.alpha);
      drawOver();
      ground.follow();
      page.first ??= performance.now(); // for whoever measures
      page.frames?.push(performance.now() - began);
    });
  }
  function moved() {
    redraw();
    clearTimeout(waiting); // browsers stop pages that change their address all the time
    waiting = setTimeout(() => {
      if (closed) return;
      page.keep({ x: view.x.toPrecision(6), y: view.y.toPrecision(6), zoom: (view.scale / whole()).toPrecision(4) });
      ground.land();
    }, WAIT);
  }
  let atlas = null;
  run.thumbs().then((image) => {
    atlas = image;
    redraw();
  });
  function drawOver() {
    const [w, h] = size();
    const pen = over.getContext("2d");
    const density = over.width / Math.max(w, 1);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, w, h);
    const seen = atlas && view.scale > whole() * 1.5 && grid.within([...toData([0, h]), ...toData([w, 0])], THUMBS);
    if (seen?.length) {
      const s = Math.min(56, Math.max(16, 0.6 * Math.sqrt((w * h) / seen.length)));
      pen.imageSmoothingEnabled = s < manifest.thumbs.side;
      for (const place of seen) {
        const cut = run.thumbAt(place);
        const [x, y] = toPixel(points[2 * place], points[2 * place + 1]);
        if (cut) pen.drawImage(atlas, cut[0], cut[1], cut[2], cut[2], x - s / 2, y - s / 2, s, s);
      }
    }
    pen.lineWidth = 2;
    pen.strokeStyle = pen.fillStyle = getComputedStyle(plane).getPropertyValue("--accent");
    for (const place of chosen.length <= 5000 ? chosen : []) {
      const [x, y] = toPixel(points[2 * place], points[2 * place + 1]);
      pen.strokeRect(x - 3, y - 3, 6, 6);
    }
    if (lasso?.length > 1) {
      pen.beginPath();
      lasso.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](...toPixel(x, y)));
      pen.closePath();
      pen.stroke();
      pen.globalAlpha = 0.12;
      pen.fill();
      pen.globalAlpha = 1;
    }
    if (at.drawn) {
      const [x, y] = toPixel(...(at.place === null ? at.spot : points.subarray(2 * at.place, 2 * at.place + 2)));
      pen.beginPath();
      pen.arc(x, y, 7, 0, 7);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + 7 * dx, y + 7 * dy);
        pen.lineTo(x + 14 * dx, y + 14 * dy);
      }
      pen.stroke();
    }
  }

  const ground = terrainLayer(terrain, run, { state, view, size, inverse, redraw });

  // What is under the cross

  const panel = herePanel(open);
  const show = latest(async (aloud) => {
    if (!at.spot || closed) return;
    const [x, y] = at.spot;
    const { place } = at;
    const isPoint = place !== null;
    panel.edit.disabled = false;
    if (!isPoint) panel.original.clear("No picture here");
    const drawn = await run.decode(isPoint ? codes.at(place) : inverse.at(x, y));
    panel.rebuilt.show(isPoint ? "Reconstruction" : "Decoded from here", (canvas) => paint(canvas, drawn, run.width, run.height));
    if (isPoint) {
      const picture = await run.picture(place);
      panel.original.show("Picture", (canvas) => draw(canvas, picture));
    }
    const label = isPoint && labels?.[place] >= 0 ? `${manifest.labels[labels[place]]}, ` : "";
    const told = isPoint
      ? `${label}${manifest.splits[splits[place]]}; ${manifest.score}: ${score[place].toFixed(1)}`
      : `Nothing was there: decoded from (${x.toFixed(2)}, ${y.toFixed(2)})`;
    panel.tell(told, isPoint ? 1 : inverse.trust(x, y));
    if (aloud) say(told);
  });
  function draw(canvas, image) {
    canvas.width = run.width;
    canvas.height = run.height;
    canvas.getContext("2d").drawImage(image, 0, 0, run.width, run.height);
  }
  function open() {
    at.spot ??= toData(cross()); // as `L` does, whoever has pointed at nothing yet means the middle
    if (at.place !== null) page.go("edit", { from: { place: at.place, z: codes.at(at.place) } });
    else page.go("edit", { from: { z: inverse.at(...at.spot), what: "a place of the map" } });
  }

  const group = groupPanel(page, codes);
  async function surround(pixels) {
    lasso = pixels.map(toData);
    chosen = inside(points, lasso);
    say(`${chosen.length} pictures in the lasso`);
    redraw();
    await group.show(chosen);
  }

  hands(plane, {
    size,
    zoom,
    pan,
    showAll,
    open,
    surround,
    look,
    cross,
    leave() {
      at.drawn = false; // what is told of it beside the map stays, with the button that opens it
      redraw();
    },
    lassoing: () => !!state.lasso,
    draft(pixels) {
      lasso = pixels.map(toData);
      redraw();
    },
  });

  // Controls

  const legend = el("div.legend");
  let turn = 0;
  async function recolour(by) {
    const mine = ++turn;
    const found = await coloured(run, by);
    if (mine !== turn || closed) return;
    colours = found.colours;
    drawn.set("colour", colours);
    legend.replaceChildren();
    if (found.legend?.kinds) {
      const all = found.legend.kinds;
      legend.append(...all.slice(0, KINDS).map(([[r, g, b], text]) => el("span.kind", {}, el("i", { style: `background: rgb(${r},${g},${b})` }), text)));
      if (all.length > KINDS) legend.append(`and ${all.length - KINDS} more`);
    } else if (found.legend) {
      const ends = [0, 64, 128, 192, 255].map((i) => `rgb(${found.legend.scale[i]})`);
      const bar = el("i", { style: `background: linear-gradient(90deg, ${ends})` });
      legend.append(el("span.scale", {}, found.legend.low.toPrecision(4), bar, found.legend.high.toPrecision(4)));
    }
    redraw();
  }
  const options = choices(manifest);
  const by = options.some(([key]) => key === state.colour) ? state.colour : manifest.labels.length ? "label" : "score";
  const colour = select(options, by, (key) => {
    page.keep({ colour: key });
    recolour(key);
  });
  const toggle = (name, text, after) => {
    const made = el("button.toggle", { "aria-pressed": String(!!state[name]) }, text);
    made.onclick = () => {
      page.keep({ [name]: state[name] ? "" : "1" });
      made.setAttribute("aria-pressed", String(!!state[name]));
      after();
    };
    return made;
  };
  const controls = el(
    "div.controls",
    {},
    field("Colour", colour),
    toggle("terrain", "Terrain", ground.land),
    toggle("fog", "Reliability", ground.land),
    toggle("lasso", "Lasso", () => say(state.lasso ? "Drag around points" : "Drag moves the map")),
    el("button", { onclick: () => zoom(1.5), "aria-label": "Zoom in" }, "+"),
    el("button", { onclick: () => zoom(1 / 1.5), "aria-label": "Zoom out" }, "−"),
    el("button", { onclick: showAll }, "Show all"),
    legend,
  );
  side.append(
    ...panel.parts,
    el("p.hint", {}, `${manifest.axes.filter(Boolean).join(" by ")}. Click a place, or press Enter, to edit it. Shift and drag for a lasso.`),
    group.section,
  );

  function resized() {
    const [w, h] = size();
    if (!w || !h) return;
    const density = devicePixelRatio || 1;
    for (const layer of layers) {
      layer.width = Math.round(w * density);
      layer.height = Math.round(h * density);
    }
    if (!fitted) {
      fitted = true;
      const [x, y, z] = [state.x, state.y, state.zoom].map(Number);
      const given = state.x && Number.isFinite(x) && Number.isFinite(y);
      aim(...(given ? [x, y] : [view.x, view.y]), whole() * (Number.isFinite(z) && z > 0 ? z : 1));
    }
    redraw();
    landed();
  }
  function landed() {
    if (state.terrain || state.fog) ground.land();
  }
  const observer = new ResizeObserver(resized);
  observer.observe(plane);
  dots.addEventListener("webglcontextlost", (event) => closed || event.preventDefault()); // whoever prevents it wants it back
  dots.addEventListener("webglcontextrestored", () => {
    drawn = new Points(dots);
    drawn.set("position", points);
    drawn.set("colour", colours);
    redraw();
  });
  const made = el("div.map", {}, controls, plane, side);
  made.close = () => {
    closed = true;
    clearTimeout(waiting);
    ground.close();
    observer.disconnect();
    drawn.close();
  };
  await recolour(by).catch((error) => {
    made.close(); // its place on the graphics card would be kept
    throw error;
  });
  made.repaint = () => {
    landed();
    return recolour(colour.value);
  };
  made.probe = { view, toPixel, points, grid, inverse, at, redraw }; // what a test looks at
  return made;
}

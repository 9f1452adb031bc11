// The editor: a picture's code, moved along attributes and single latents; pinned pictures to add, subtract and morph.

import { cover, download, el, latest, paint, say, slider } from "studio/dom.js";
import { pinBoard } from "studio/pins.js";
import { edited, PackedCodes } from "studio/space.js";
import { takingPanel } from "studio/taking.js";

const REACH = 4; // standard deviations to either side
const LATENTS = 12; // sliders shown at first
const ALL = 200; // at most
const MOVES = 2; // attributes that a slider is said to move beside its own
const LEAST = 0.1; // standard deviations of an attribute that are worth telling
const FIRST = ["Smiling", "Eyeglasses", "Blond_Hair", "Male", "Wearing_Hat"]; // what people ask for

export async function editView(page) {
  const { run } = page;
  const { manifest } = run;
  const zero = () => ({ alphas: {}, latents: {} });
  const edit = page.edit ?? (page.edit = { base: null, picture: null, what: "", file: false, given: [], now: zero(), past: [], ahead: [] });
  let turn = 0;
  const from = page.from;
  page.from = null;
  const steps = await run.array("mu");
  const codes = steps && new PackedCodes(steps, manifest.code);
  if (from) await begin(from);
  else if (!edit.base) await begin({ place: 0 });

  /** Start from a code, a place of the map or a file; whether it came to that: what is asked later goes first. */
  async function begin(from) {
    const mine = ++turn;
    const { place, file } = from;
    const drawn = file ? createImageBitmap(file).catch(() => null) : place === undefined ? null : run.picture(place, "original");
    const picture = await drawn; // null for a file too that this browser cannot draw: whoever encodes it may know its kind
    const base = from.z ?? (file || !codes ? await run.encode(file ?? (await bytesOf(picture))) : codes.at(place));
    if (mine !== turn) return false;
    const what = file ? (file.name ?? "your picture") : place === undefined ? (from.what ?? "a code") : `picture ${place}`;
    Object.assign(edit, { base, picture, what, file: !!file, given: from.given ?? [], now: zero(), past: [], ahead: [] });
    return true;
  }

  const code = (now = edit.now) => {
    const moved = edited(edit.base, now.alphas, page.vectors);
    for (const [d, sigmas] of Object.entries(now.latents)) moved[d] += sigmas * (manifest.code.sd[d] || 1);
    return moved;
  };

  // The three pictures

  const canvases = Object.fromEntries(["picture", "rebuilt", "edited"].map((name) => [name, el("canvas.shown", { role: "img" })]));
  const figure = (canvas, text) => {
    canvas.setAttribute("aria-label", text);
    return el("figure", {}, canvas, el("figcaption", {}, text));
  };
  const stage = el(
    "div.stage",
    {},
    figure(canvases.picture, "Picture"),
    figure(canvases.rebuilt, "Reconstruction"),
    figure(canvases.edited, "Edited"),
  );
  const show = latest(async () => {
    const began = performance.now();
    paint(canvases.edited, await run.decode(code(), edit.given), run.width, run.height);
    page.delays?.push(performance.now() - began);
  });
  async function showBase() {
    const { picture } = canvases;
    picture.width = run.width;
    picture.height = run.height;
    if (edit.picture) cover(picture.getContext("2d"), edit.picture, run.width, run.height, manifest.crop);
    picture.parentElement.hidden = !edit.picture;
    paint(canvases.rebuilt, await run.decode(edit.base, edit.given), run.width, run.height);
    await show();
  }

  // Sliders; those that stand there are set anew, so that the keyboard stays where it is

  const attributes = el("div.sliders");
  const latents = el("div.sliders");
  const handles = [];
  function sliderFor(kind, key, text, told) {
    let before = null;
    const made = slider({
      low: -REACH,
      high: REACH,
      step: 0.05,
      value: edit.now[kind][key] ?? 0,
      label: text,
      format: (value) => `${value > 0 ? "+" : ""}${value.toFixed(1)} σ`,
      oninput(value) {
        before ??= structuredClone(edit.now);
        edit.now[kind][key] = value;
        show();
      },
      onchange() {
        if (before) remember(before);
        before = null;
      },
    });
    made.input.addEventListener("pointerup", () => setTimeout(() => (before = null))); // one that came back to where it was
    handles.push(() => made.set(edit.now[kind][key] ?? 0));
    return el("div.slider", {}, el("span.name", {}, text), made.input, made.told, told ? el("p.leak", {}, told) : null);
  }
  function leakOf(name) {
    const { leak } = page.vectors[name];
    const others = Object.entries(leak ?? {}).filter(([other, by]) => other !== name && Math.abs(by) >= LEAST);
    others.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    const some = others.slice(0, MOVES).map(([other, by]) => `${other} ${by > 0 ? "+" : ""}${by.toFixed(2)} σ`);
    return some.length ? `moves ${some.join(", ")}` : "";
  }
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  const names = Object.keys(page.vectors).sort((a, b) => rank(a) - rank(b));
  attributes.append(
    ...(names.length
      ? names.map((name) => sliderFor("alphas", name, name, leakOf(name)))
      : [el("p.hint", {}, "This run has no attribute vectors. Keep two groups of points on the map to make one, or train with --attributes.")]),
  );
  const latent = ({ index, worth }) => sliderFor("latents", index, `z${index}`, `${worth.toFixed(2)} ${manifest.worth}`);
  latents.append(...manifest.latents.slice(0, LATENTS).map(latent));
  if (manifest.latents.length > LATENTS) {
    const rest = manifest.latents.slice(LATENTS, ALL);
    const more = el("button", {}, `${rest.length} more latents`);
    more.onclick = () => {
      const made = rest.map(latent);
      more.replaceWith(...made);
      made[0].querySelector("input").focus();
    };
    latents.append(more);
  }

  // What was done, and back

  function remember(before) {
    edit.past.push(before);
    edit.ahead = [];
    buttons();
  }
  function settle() {
    for (const set of handles) set();
    buttons();
    show();
  }
  function step(from, to) {
    if (!from.length) return;
    to.push(edit.now);
    edit.now = from.pop();
    settle();
  }
  const undo = el("button", { onclick: () => step(edit.past, edit.ahead) }, "Undo");
  const redo = el("button", { onclick: () => step(edit.ahead, edit.past) }, "Redo");
  function reset() {
    remember(edit.now);
    edit.now = zero();
    settle();
  }
  function buttons() {
    undo.disabled = !edit.past.length;
    redo.disabled = !edit.ahead.length;
  }

  // Where a picture comes from

  const told = el("p.told", {}, edit.what);
  async function reopen(from) {
    if (!(await begin(from))) return;
    await showBase();
    settle();
    told.textContent = edit.what;
    say(`Opened ${edit.what}${edit.file && !edit.picture ? ", which this browser cannot draw" : ""}`);
  }
  function chosen() {
    const [its] = file.files;
    file.value = ""; // so that the same file can be chosen again
    if (its) reopen({ file: its });
  }
  const file = el("input", { type: "file", accept: "image/*", "aria-label": "Open a picture file", onchange: chosen });
  const drop = el("div.drop", {}, el("span", {}, "Drop a picture here, paste one, or "), file);
  const random = el("button", { onclick: () => reopen({ place: Math.floor(Math.random() * manifest.count) }) }, "Another picture");

  const doing = () => Object.entries(edit.now.alphas).filter(([, alpha]) => alpha);
  const board = pinBoard(page, reopen);
  const pin = async () => {
    const z = code();
    const parts = doing().map(([name, alpha]) => `${name} ${alpha > 0 ? "+" : ""}${alpha.toFixed(1)}`);
    board.add({ z, rgba: await run.decode(z, edit.given), name: [edit.what, ...parts].join(", "), given: edit.given });
  };
  const taking = takingPanel(page, edit);
  const actions = el(
    "div.buttons",
    {},
    undo,
    redo,
    el("button", { onclick: reset }, "Reset"),
    el("button.primary", { onclick: pin }, "Pin"),
    el("button", { onclick: () => canvases.edited.toBlob((blob) => download(blob, "edited.png")) }, "Save PNG"),
    taking,
  );

  buttons();
  const made = el(
    "div.edit",
    {},
    el("section.first", {}, el("div.controls", {}, drop, random, told), stage, actions),
    el("section.panel", { "aria-label": "Attributes", tabIndex: 0 }, el("h2", {}, "Attributes"), attributes),
    el("section.panel", { "aria-label": "Latents", tabIndex: 0 }, el("h2", {}, "Latents"), latents),
    board.section,
  );
  const dropped = (event) => event.dataTransfer.files[0] && reopen({ file: event.dataTransfer.files[0] });
  const pasted = (event) => {
    const [its] = event.clipboardData.files;
    if (its) reopen({ file: its });
  };
  const keys = (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    if (event.shiftKey) step(edit.ahead, edit.past);
    else step(edit.past, edit.ahead);
  };
  made.addEventListener("drop", dropped);
  document.addEventListener("paste", pasted);
  document.addEventListener("keydown", keys);
  made.close = () => {
    turn++;
    board.close();
    document.removeEventListener("paste", pasted);
    document.removeEventListener("keydown", keys);
  };
  await showBase();
  return made;
}

async function bytesOf(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

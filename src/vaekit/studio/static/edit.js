// The editor: a picture's code, moved along attributes and single latents; pinned pictures to add, subtract and morph.

import { download, el, latest, paint, say, slider } from "studio/dom.js";
import { bitmapOf, fitted } from "studio/fitted.js";
import { pinBoard } from "studio/pins.js";
import { clamped, edited, PackedCodes } from "studio/space.js";
import { takingPanel } from "studio/taking.js";

const REACH = 4; // standard deviations to either side
const LATENTS = 12; // sliders shown at first
const ALL = 200; // at most
const MOVES = 2; // attributes that a slider is said to move beside its own
const LEAST = 0.1; // standard deviations of an attribute that are worth telling
const FIRST = ["Smiling", "Eyeglasses", "Blond_Hair", "Male", "Wearing_Hat"]; // what people ask for

export async function editView(page) {
  const { run, state } = page;
  const { manifest } = run;
  const zero = () => ({ alphas: {}, latents: {} });
  const edit = page.edit ?? (page.edit = { base: null, picture: null, rebuilt: null, what: "", file: false, given: [], details: false, now: zero(), past: [], ahead: [] });
  let turn = 0;
  const from = page.from;
  page.from = null;
  const codes = new PackedCodes(await run.array("mu"), manifest.code);
  const elsewhere = isElsewhere();
  for (const { alphas } of [edit.now, ...edit.past, ...edit.ahead]) {
    for (const name of Object.keys(alphas)) if (!(name in page.vectors)) delete alphas[name]; // attributes were computed anew
  }
  if (from) await begin(from);
  else if (!edit.base || elsewhere) await begin(named());
  else keep();

  /** Start from a code, a place of the map or a file; whether it came to that: what is asked later goes first. */
  async function begin(from) {
    const mine = ++turn;
    const { place, file } = from;
    const drawn = file ? bitmapOf(file).catch(() => null) : place === undefined ? null : run.picture(place);
    const image = await drawn; // null for a file too that this browser cannot draw: whoever encodes it may know its kind
    const picture = image && fitted(image, run, manifest.crop);
    const base = from.z ?? (file ? await run.encode(file) : codes.at(place));
    if (mine !== turn) return false;
    const what = file ? (file.name ?? "your picture") : place === undefined ? (from.what ?? "a code") : `picture ${place}`;
    const { given = [], details = edit.details, now = zero() } = from;
    Object.assign(edit, { base, picture, rebuilt: null, place, what, file: !!file, given, details, now, past: [], ahead: [] });
    keep();
    return true;
  }

  // The address: it can tell a picture of the map and the sliders, but neither a file nor a code

  function written() {
    if (edit.place === undefined) return { place: "", add: "", latents: "", details: "" };
    const moved = (its) => String(new URLSearchParams(Object.entries(its).filter(([, value]) => value)));
    const { alphas, latents } = edit.now;
    return { place: String(edit.place), add: moved(alphas), latents: moved(latents), details: edit.details ? "1" : "" };
  }
  function keep() {
    if (page.name === run.name) page.keep(written()); // else another run was chosen while this one was asked
  }
  /** Whether the address names another picture, or the same one with other sliders. */
  function isElsewhere() {
    return state.place !== undefined && Object.entries(written()).some(([key, value]) => String(state[key] ?? "") !== value);
  }
  /** What the address says, as far as this run has it. */
  function named() {
    const place = Number(state.place ?? 0);
    const moved = (text, known) =>
      Object.fromEntries(
        [...new URLSearchParams(text ?? "")]
          .filter(([name, value]) => known(name) && Number.isFinite(+value))
          .map(([name, value]) => [name, clamped(+value, -REACH, REACH)]),
      );
    const isLatent = (name) => manifest.latents.slice(0, ALL).some(({ index }) => String(index) === name);
    const now = { alphas: moved(state.add, (name) => Object.hasOwn(page.vectors, name)), latents: moved(state.latents, isLatent) };
    const there = Number.isInteger(place) && place >= 0 && place < manifest.count;
    return { place: there ? place : 0, now, details: state.details === "1" };
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
  /** Whether the picture is there as it is: an exported page has thumbnails of those of the map. */
  const isWhole = () => !!edit.picture && (edit.file || page.source.live);
  const hasDetails = () => edit.details && isWhole();
  /** The change alone, on the picture itself: what the model cannot draw stays as it was. */
  const detailed = (drawn) => edit.picture.map((x, i) => x + drawn[i] - edit.rebuilt[i]);
  const show = latest(async () => {
    const began = performance.now();
    const { base } = edit;
    const drawn = await run.decode(code(), edit.given);
    if (base !== edit.base) return; // whoever opened another one shows it
    paint(canvases.edited, hasDetails() && edit.rebuilt ? detailed(drawn) : drawn, run.width, run.height);
    page.delays?.push(performance.now() - began);
  });
  /** And what is made of it; whether it still is what is edited. */
  async function showBase() {
    const { picture } = canvases;
    if (edit.picture) paint(picture, edit.picture, run.width, run.height);
    picture.parentElement.hidden = !edit.picture;
    const { base } = edit;
    const drawn = await run.decode(base, edit.given);
    if (base !== edit.base) return false;
    edit.rebuilt = drawn;
    paint(canvases.rebuilt, drawn, run.width, run.height);
    details.disabled = !isWhole();
    await show();
    return base === edit.base;
  }

  // Sliders; those that stand there are set anew, so that the keyboard stays where it is

  const attributes = el("div.sliders");
  const latents = el("div.sliders");
  const handles = [];
  function sliderFor(kind, key, text, ...told) {
    let before = null;
    const made = slider({
      low: -REACH,
      high: REACH,
      step: 0.05,
      value: edit.now[kind][key] ?? 0,
      label: text,
      format: (value) => `${value > 0 ? "+" : ""}${value.toFixed(2)} σ`,
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
    const about = told.filter(Boolean);
    about.forEach((its, i) => (its.id = `about-${handles.length}-${i}`));
    if (about.length) made.input.setAttribute("aria-describedby", about.map((its) => its.id).join(" "));
    handles.push(() => made.set(edit.now[kind][key] ?? 0));
    return el("div.slider", {}, el("span.name", {}, text), made.input, made.told, ...told);
  }
  /** What a σ of the slider moves beside its own; a leak is of alpha = 1, which is so many `sigmas` of them. */
  function leakOf(name) {
    const { leak, sigmas } = page.vectors[name];
    const others = Object.entries(leak ?? {}).map(([other, by]) => [other, by / (sigmas || 1)]);
    const told = others.filter(([other, by]) => other !== name && Math.abs(by) >= LEAST).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    const some = told.slice(0, MOVES).map(([other, by]) => `${other} ${by > 0 ? "+" : ""}${by.toFixed(2)} σ`);
    return some.length ? el("p.leak", {}, `moves per σ: ${some.join(", ")}`) : "";
  }
  /** That pictures which the vector was not made of may lie apart along it by nothing; told as `vaekit attributes` does. */
  function doubtOf(name) {
    const [low, high] = page.vectors[name].interval ?? []; // a vector of two groups has none
    if (!(low <= 0 && high >= 0)) return "";
    const title = "Along it, held-out pictures with and without the attribute may lie apart by 0: the 95 % interval of the distance";
    return el("p.doubt", { title }, `perhaps an accident: held out, ${low.toPrecision(2)} to ${high.toPrecision(2)}`);
  }
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  const names = Object.keys(page.vectors).sort((a, b) => rank(a) - rank(b));
  attributes.append(
    ...(names.length
      ? names.map((name) => sliderFor("alphas", name, name, doubtOf(name), leakOf(name)))
      : [el("p.hint", {}, "This run has no attribute vectors. Keep two groups of points on the map to make one, or train with --attributes.")]),
  );
  const latent = ({ index, worth }) => sliderFor("latents", index, `z${index}`, el("p.leak", {}, `${worth.toFixed(2)} ${manifest.worth}`));
  latents.append(...manifest.latents.slice(0, LATENTS).map(latent));
  if (manifest.latents.length > LATENTS) {
    const rest = manifest.latents.slice(LATENTS, ALL);
    const expand = () => {
      const made = rest.map(latent);
      more.replaceWith(...made);
      return made;
    };
    const more = el("button", { onclick: () => expand()[0].querySelector("input").focus() }, `${rest.length} more latents`);
    latents.append(more);
    if (rest.some(({ index }) => edit.now.latents[index])) expand(); // by the address, or from before
  }

  // What was done, and back

  function remember(before) {
    edit.past.push(before);
    edit.ahead = [];
    keep();
    buttons();
  }
  function settle() {
    for (const set of handles) set();
    keep();
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
  const details = el("button", { title: "The change alone, on the picture itself: what the model cannot draw stays", onclick: keepDetails }, "Keep details");
  function keepDetails() {
    edit.details = !edit.details;
    settle();
  }
  function buttons() {
    details.setAttribute("aria-pressed", hasDetails());
    const { activeElement } = document;
    undo.disabled = !edit.past.length;
    redo.disabled = !edit.ahead.length;
    if (activeElement?.disabled) (activeElement === undo ? redo : undo).focus(); // else the keyboard's place would be lost
  }

  // Where a picture comes from

  const told = el("p.told", {}, edit.what);
  async function reopen(from) {
    if (!(await begin(from)) || !(await showBase())) return;
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
  const others = () => Math.floor(Math.random() * (manifest.count - 1)); // steps to one of them
  const another = () => reopen({ place: ((edit.place ?? 0) + 1 + others()) % manifest.count });
  const random = el("button", { onclick: another }, "Another picture");

  const doing = () => Object.entries(edit.now.alphas).filter(([, alpha]) => alpha);
  const board = pinBoard(page, reopen, () => pinned.focus());
  const pin = async () => {
    const z = code();
    const { pins } = page;
    const { what, given } = edit;
    const parts = doing().map(([name, alpha]) => `${name} ${alpha > 0 ? "+" : ""}${alpha.toFixed(2)}`);
    const its = { z, rgba: await run.decode(z, given), name: [what, ...parts].join(", "), given };
    if (pins === page.pins) board.add(its); // else another run was chosen meanwhile
  };
  const pinned = el("button.primary", { onclick: pin }, "Pin");
  const taking = takingPanel(page, edit, hasDetails);
  const actions = el(
    "div.buttons",
    {},
    undo,
    redo,
    el("button", { onclick: reset }, "Reset"),
    details,
    pinned,
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
  await showBase();
  made.addEventListener("drop", dropped);
  document.addEventListener("paste", pasted);
  document.addEventListener("keydown", keys);
  made.close = () => {
    turn++;
    board.close();
    document.removeEventListener("paste", pasted);
    document.removeEventListener("keydown", keys);
  };
  return made;
}

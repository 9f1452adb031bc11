// What was done in the editor, as a command and as Python.

import { el, say } from "studio/dom.js";

export function takingPanel(page, edit, hasDetails) {
  const { run } = page;
  const { manifest } = run;
  const alphas = () => Object.entries(edit.now.alphas).filter(([, alpha]) => alpha);
  const latents = () => Object.entries(edit.now.latents).filter(([, sigmas]) => sigmas);

  /** The name of the file alone, for a browser does not tell its folder; what begins with a dash would be an option. */
  const fileName = () => (edit.what.startsWith("-") ? `./${edit.what}` : edit.what);

  function asCommand() {
    if (!edit.file) throw new Error(`A command begins with a picture file, and this began with ${edit.what}. Copy it as Python.`);
    const beyond = latents().length || alphas().some(([name]) => !manifest.vectors[name]);
    if (beyond) throw new Error("A command moves along the run's own attributes alone. Copy it as Python.");
    if (!alphas().length) throw new Error("A command moves along something, and nothing is moved yet. Move a slider first.");
    const adds = alphas().map(([name, alpha]) => `--add ${quoted(`${name}=${alpha}`)}`);
    const words = ["vaekit edit", quoted(manifest.path), quoted(fileName()), "--sigmas", ...adds];
    return [...words, ...(hasDetails() ? ["--details"] : [])].join(" ");
  }

  /** A picture file is encoded; whatever else the edit began with stands there as its code. */
  function asPython() {
    const { path, crop, vectors: own } = manifest;
    const { file, base, what, given } = edit;
    const details = hasDetails();
    if (details && !file) throw new Error(`Details are those of a picture file, and this began with ${what}. Copy it without them.`);
    const made = details || alphas().some(([name]) => !own[name]);
    const lines = [
      ...(made || !file ? ["import numpy as np", ""] : []),
      `from vaekit import Run, decode${file ? ", encode, read_image" : ""}`,
      "",
      `run = Run.open(${text(path)})`,
      Object.keys(own).length ? "model, (vectors, about) = run.load_model(), run.load_attributes()" : "model = run.load_model()",
      ...(file ? [`x = read_image(${text(fileName())}, model.image, ${text(crop)})[None]`] : []),
      ...(details ? ["start = encode(model, x)"] : []),
      file
        ? `mu = ${details ? "start.copy()" : "encode(model, x)"}`
        : `mu = np.float32([${text(Array.from(base, (value) => +value.toPrecision(9)))}])  # ${text(what)}`,
    ];
    for (const [name, alpha] of alphas()) {
      const { vector, sigmas } = page.vectors[name];
      const stored = `${alpha} / about["attributes"][${text(name)}]["sigmas"] * vectors[${text(name)}].numpy()`;
      const there = `np.float32(${text(vector.map((value) => +(value * (alpha / (sigmas || 1))).toPrecision(6)))})  # ${name}`;
      lines.push(`mu = mu + ${own[name] ? stored : there}`);
    }
    for (const [d, sigmas] of latents()) lines.push(`mu[:, ${d}] += ${(sigmas * (manifest.code.sd[d] || 1)).toPrecision(6)}`);
    if (given.length) lines.push(`c = model.condition.of(${text(Object.fromEntries(given.map(pair)))}).cpu().numpy()[None]`);
    const drawn = (code) => `decode(model, ${code}${given.length ? ", c" : ""})`;
    const picture = details ? `np.clip(x / 255 + ${drawn("mu")} - ${drawn("start")}, 0, 1)` : drawn("mu");
    return [...lines, `picture = ${picture}  # (1, C, H, W) in [0, 1]`].join("\n");
  }

  const copy = (made) => async () => {
    try {
      if (!navigator.clipboard) throw new Error("This browser lets only pages of the own machine copy.");
      await navigator.clipboard.writeText(made());
      const path = `. A browser does not know the folder of ${edit.what}: complete its path if it lies elsewhere.`;
      say(`Copied${edit.file ? path : ""}`);
    } catch (error) {
      say(error.message);
    }
  };
  return [el("button", { onclick: copy(asPython) }, "Copy as Python"), el("button", { onclick: copy(asCommand) }, "Copy as command")];
}

/** "label=3" as ["label", "3"]. */
function pair(each) {
  const at = each.indexOf("=");
  return [each.slice(0, at), each.slice(at + 1)];
}

/** A text, a list, or names with texts, as Python takes them: as JSON. */
function text(value) {
  return JSON.stringify(value);
}

/** A word as a shell takes it. */
export function quoted(word) {
  return /^[\w=.,+/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

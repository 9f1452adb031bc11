// What was done in the editor, as a command and as Python.

import { el, say } from "studio/dom.js";

export function takingPanel(page, edit) {
  const { run } = page;
  const { manifest } = run;
  const alphas = () => Object.entries(edit.now.alphas).filter(([, alpha]) => alpha);
  const latents = () => Object.entries(edit.now.latents).filter(([, sigmas]) => sigmas);

  function asCommand() {
    const beyond = latents().length || alphas().some(([name]) => !manifest.vectors[name]);
    if (beyond) throw new Error("A command moves along the run's own attributes alone. Copy it as Python.");
    const adds = alphas().map(([name, alpha]) => `--add ${quoted(`${name}=${alpha}`)}`);
    return `vaekit edit ${quoted(manifest.path)} PICTURE --sigmas ${adds.join(" ") || "--add NAME=1"}`;
  }

  function asPython() {
    const made = alphas().filter(([name]) => !manifest.vectors[name]);
    const lines = [
      ...(made.length ? ["import numpy as np", ""] : []),
      "from vaekit import Run, decode, encode, read_image",
      "",
      `run = Run.open(${JSON.stringify(manifest.path)})`,
      "model, (vectors, about) = run.load_model(), run.load_attributes()",
      'mu = encode(model, read_image("PICTURE", model.image)[None])',
    ];
    if (!Object.keys(manifest.vectors).length) lines[lines.length - 2] = "model = run.load_model()";
    for (const [name, alpha] of alphas()) {
      const { vector, sigmas } = page.vectors[name];
      const own = `${alpha} / about["attributes"][${JSON.stringify(name)}]["sigmas"] * vectors[${JSON.stringify(name)}].numpy()`;
      const there = `np.float32(${JSON.stringify(vector.map((value) => +(value * (alpha / (sigmas || 1))).toPrecision(6)))})  # ${name}`;
      lines.push(`mu = mu + ${manifest.vectors[name] ? own : there}`);
    }
    for (const [d, sigmas] of latents()) lines.push(`mu[:, ${d}] += ${(sigmas * (manifest.code.sd[d] || 1)).toPrecision(6)}`);
    return [...lines, "picture = decode(model, mu)  # (1, C, H, W) in [0, 1]"].join("\n");
  }

  const copy = (text) => async () => {
    try {
      if (!navigator.clipboard) throw new Error("This browser lets only pages of the own machine copy.");
      await navigator.clipboard.writeText(text());
      say("Copied");
    } catch (error) {
      say(error.message);
    }
  };
  return [el("button", { onclick: copy(asPython) }, "Copy as Python"), el("button", { onclick: copy(asCommand) }, "Copy as command")];
}

/** A word as a shell takes it. */
function quoted(word) {
  return /^[\w=.,+/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

// New pictures, and the pictures of the data that are nearest to them.

import { el, field, latest, paint, say, select, slider } from "studio/dom.js";
import { clamped, PackedCodes } from "studio/space.js";

const COUNT = 32;
const NEAR = 6;
const SEEDS = 2 ** 31;

export async function sampleView(page) {
  const { run, state, source } = page;
  const { manifest } = run;
  const codes = new PackedCodes(await run.array("mu"), manifest.code);
  const split = await run.array("split");
  const count = (many) => many.toLocaleString("en");
  const learnt = split.filter((each) => each === 0).length;
  const among =
    `Beside a sample stand those nearest to it of the ${count(learnt)} training pictures on the map, ` +
    `which has ${count(manifest.count)} of ${count(manifest.of)} pictures.`;
  const priors = [
    ...(manifest.has_prior ? [["own", "the model's own prior"]] : []),
    ...(manifest.priors.length ? [["fitted", "the best fitted density"]] : []),
    ...manifest.priors.map((name) => [name, `fitted: ${name}`]),
  ];
  if (!priors.length) {
    const why = source.live
      ? "A plain autoencoder has no prior to draw from. Fit a density to its codes: vaekit fit-prior."
      : "This page can draw codes from N(0, 1) alone, and this model has another prior. The studio can: vaekit studio.";
    return el("div.sample", {}, el("p.hint", {}, why));
  }
  // What can be asked for by label: of a conditional model draws of its own prior, of any model those of a density of each label
  const labelsOf = (prior) =>
    (prior === "labels" ? manifest.labels : prior === "own" ? (manifest.condition?.labels ?? []) : []).map((name) => [`label=${name}`, name]);
  const known = (options, value) => options.some(([key]) => key === value);
  const wish = {
    prior: known(priors, state.prior) ? state.prior : priors[0][0],
    temperature: Number.isFinite(+state.temperature) ? clamped(+state.temperature, 0, 2) : 1,
    seed: Number.isInteger(+state.seed) ? clamped(+state.seed, 0, SEEDS - 1) : 0,
    n: COUNT,
    given: [],
  };
  if (known(labelsOf(wish.prior), state.given)) wish.given = [state.given];
  const sheet = el("div.sheet");
  const near = el("div.near");
  let turn = 0;

  const draw = latest(async () => {
    const asked = { ...wish };
    page.keep({ prior: asked.prior, temperature: asked.temperature, seed: asked.seed, given: asked.given[0] ?? "" });
    const drawn = await run.sample(asked);
    const pictures = await run.decodeAll(drawn, manifest.condition ? asked.given : []);
    turn++;
    sheet.replaceChildren(
      ...pictures.map((rgba, i) => {
        const canvas = el("canvas.small");
        paint(canvas, rgba, run.width, run.height);
        const show = () => beside(rgba, drawn[i], i + 1, manifest.condition ? asked.given : []);
        return el("button.bare", { onclick: show, "aria-label": `Choose sample ${i + 1}` }, canvas);
      }),
    );
    near.replaceChildren(el("p.hint", {}, "Choose a sample."));
  });

  async function beside(rgba, z, number, given) {
    const mine = ++turn;
    const canvas = el("canvas.shown", { role: "img", "aria-label": `Sample ${number}` });
    paint(canvas, rgba, run.width, run.height);
    const found = codes.nearest(z, NEAR, (place) => split[place] === 0);
    const images = await Promise.all(found.map(({ place }) => run.picture(place)));
    if (mine !== turn) return;
    near.replaceChildren(
      el("figure", {}, canvas, el("figcaption", {}, "Sample")),
      ...images.map((image, at) => {
        const its = el("canvas.small", { width: run.width, height: run.height, role: "img", "aria-label": `Training picture ${found[at].place}` });
        its.getContext("2d").drawImage(image, 0, 0, run.width, run.height);
        return el("figure", {}, its, el("figcaption", {}, found[at].distance.toFixed(2)));
      }),
      el("button.primary", { onclick: () => page.go("edit", { from: { z, what: `sample ${number}`, given } }) }, "Edit it"),
    );
    say(`Sample ${number}, ${found.length} training pictures beside it`);
  }

  const label = select([], "", (value) => {
    wish.given = value ? [value] : [];
    draw();
  });
  const labelled = field("Label", label);
  const offer = () => {
    const labels = labelsOf(wish.prior);
    labelled.hidden = !labels.length;
    label.replaceChildren(...[["", "any"], ...labels].map(([value, text]) => el("option", { value }, text)));
    label.value = wish.given[0] ?? "";
  };
  const prior = select(priors, wish.prior, (value) => {
    wish.prior = value;
    wish.given = [];
    offer();
    draw();
  });
  const temperature = slider({
    low: 0,
    high: 2,
    step: 0.05,
    value: wish.temperature,
    label: "Temperature",
    format: (value) => value.toFixed(2),
    oninput(value) {
      wish.temperature = value;
      draw();
    },
  });
  const others = () => {
    wish.seed = (wish.seed + 1) % SEEDS;
    draw();
  };
  offer();
  const controls = el(
    "div.controls",
    {},
    field("From", prior),
    labelled,
    field("Temperature", temperature.input, temperature.told),
    el("button.primary", { onclick: others }, "Others"),
  );
  await draw();
  return el("div.sample", {}, controls, sheet, el("section.wide", {}, el("h2", {}, "Neighbours"), near, el("p.hint", {}, among)));
}

// A group of points in a lasso: its mean, some of it, new ones like it, and a direction from one group to another.

import { el, paint, say } from "studio/dom.js";

const SOME = 6; // pictures of a group

export function groupPanel(page, codes) {
  const { run } = page;
  const section = el("section.group");
  const between = el("p.between");
  let turn = 0;

  const pictures = (all, text) =>
    el(
      "div.row",
      {},
      all.map((rgba, i) => {
        const canvas = el("canvas.small", { role: "img", "aria-label": `${text} ${i + 1}` });
        paint(canvas, rgba, run.width, run.height);
        return canvas;
      }),
    );

  async function show(chosen) {
    const mine = ++turn;
    const title = el("h2", {}, `${chosen.length.toLocaleString("en")} pictures`);
    section.replaceChildren(title);
    if (!chosen.length) return;
    const mean = codes.mean(chosen);
    const count = Math.min(SOME, chosen.length);
    const some = Array.from({ length: count }, (_, i) => chosen[Math.floor((i * chosen.length) / count)]);
    const [middle, ...others] = await run.decodeAll([mean, ...some.map((place) => codes.at(place)), ...codes.like(chosen, mean, SOME)], [], () => mine !== turn);
    if (mine !== turn) return;
    const keepAs = (name) => () => {
      page.groups[name] = { mean, count: chosen.length };
      say(`Kept as group ${name}`);
      changed();
    };
    section.replaceChildren(
      title,
      el("p", {}, "Its mean:"),
      pictures([middle], "Mean of the group"),
      el("p", {}, "Some of it:"),
      pictures(others.slice(0, count), "Picture"),
      el("p", {}, "New ones like it:"),
      pictures(others.slice(count), "New picture"),
      el(
        "div.buttons",
        {},
        el("button", { onclick: () => page.go("edit", { from: { z: mean, what: "the mean of a group" } }) }, "Edit the mean"),
        el("button", { onclick: keepAs("A") }, "Keep as A"),
        el("button", { onclick: keepAs("B") }, "Keep as B"),
      ),
      between,
    );
    changed();
  }

  function changed() {
    const { A, B } = page.groups;
    const make = () => page.addVector("A to B", A.mean, B.mean);
    between.replaceChildren(
      A && B
        ? el("button.primary", { onclick: make }, `Make a vector: A (${A.count}) to B (${B.count})`)
        : "Keep two groups to make a vector from one to the other.",
    );
  }

  return { section, show };
}

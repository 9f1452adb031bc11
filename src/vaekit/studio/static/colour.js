// What the colours of points mean: kinds in colours that colour-blind people tell apart, numbers from dark to light.

// Okabe & Ito's eight, then tints of them for more kinds.
const KINDS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800", "#6f6f6f"];
const TINTS = ["#003f66", "#8a5f00", "#005c43", "#7d3700", "#7d4465", "#2b7ba8", "#6e6500", "#b0b0b0"];
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const UNKNOWN = [150, 150, 150];

export function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

export const dark = () => document.documentElement.dataset.theme === "dark";

function between(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((value, i) => Math.round(value + (at - low) * (stops[low + 1][i] - value)));
}

/** Colours of kinds, by number, and of 256 shares from low to high: without the end that would vanish on the ground. */
export function palette() {
  const lighter = (colour) => colour.map((value) => Math.round(value + 0.45 * (255 - value)));
  const kinds = KINDS.map(rgb);
  const all = [...kinds, ...(dark() ? kinds.map(lighter) : TINTS.map(rgb))];
  const stops = VIRIDIS.map(rgb);
  const [first, last] = dark() ? [0.3, 1] : [0, 0.85];
  const scale = Array.from({ length: 256 }, (_, i) => between(stops, first + (i / 255) * (last - first)));
  return {
    kind: (kind) => (kind < 0 ? UNKNOWN : all[kind % all.length]),
    share: (share) => (Number.isFinite(share) ? scale[Math.min(Math.max(Math.round(255 * share), 0), 255)] : UNKNOWN),
    scale,
  };
}

/** What points can be coloured by: [key, text]. */
export function choices({ arrays, labels, attributes, score }) {
  const found = [["none", "one colour"]];
  if (arrays.label) found.push(["label", `label (${labels.length})`]);
  found.push(["split", "split"], ["score", `unlikely (${score})`]);
  if (arrays.rate) found.push(["rate", "what the code carries, nats"]);
  if (arrays.attribute) attributes.forEach((name, i) => found.push([`attribute:${i}`, name]));
  return found;
}

/** RGBA bytes of every point and a legend: {kinds: [[colour, text]]} or {low, high}. */
export async function coloured(run, by) {
  const { count, labels, splits } = run.manifest;
  const made = new Uint8Array(4 * count).fill(255);
  const colours = palette();
  const put = (i, colour) => made.set(colour, 4 * i);
  const kinds = (values, names) => {
    for (let i = 0; i < count; i++) put(i, colours.kind(values[i]));
    return { colours: made, legend: { kinds: names.map((name, kind) => [colours.kind(kind), name]) } };
  };
  if (by === "label") return kinds(await run.array("label"), labels);
  if (by === "split") return kinds(await run.array("split"), splits);
  if (by === "none") {
    for (let i = 0; i < count; i++) put(i, colours.kind(0));
    return { colours: made, legend: null };
  }
  const [name, column] = by.split(":");
  let values = await run.array(name);
  if (column !== undefined) values = values.subarray(+column * count, (+column + 1) * count);
  const known = Float32Array.from(values.filter(Number.isFinite)).sort();
  if (column !== undefined && known.every((value) => value === 0 || value === 1)) {
    const steps = Int8Array.from(values, (value) => (Number.isFinite(value) ? value : -1));
    return kinds(steps, ["without it", "with it"]);
  }
  const [low, high] = [known[Math.floor(0.01 * known.length)] ?? 0, known[Math.floor(0.99 * (known.length - 1))] ?? 1];
  for (let i = 0; i < count; i++) put(i, colours.share((values[i] - low) / (high - low || 1)));
  return { colours: made, legend: { low, high, scale: colours.scale } };
}

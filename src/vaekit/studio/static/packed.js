// The page without a server of its own: arrays and networks lie in it or beside it, and this browser computes.

import * as processor from "ort";
import { start } from "studio/app.js";
import { note } from "studio/dom.js";
import { bitmapOf, fitted } from "studio/fitted.js";
import { answer, Run } from "studio/run.js";

const GOLDEN = 2; // of 255, that pictures computed here may differ from those that torch computed
const AT_ONCE = { wasm: 4, webgpu: 64 }; // codes in one question: the processor does nothing else until it has answered
const TIMED = 3; // times that they are computed to see how long that takes

/** A blob by name: a part of this page, or a file beside it. */
async function packed(name) {
  const part = document.getElementById(`blob-${name}`);
  if (!part) return (await answer(`data/${name}.bin`)).body;
  return new Blob([globalThis.bytesOf(part)]).stream();
}

async function unpacked(name) {
  return new Response((await packed(name)).pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Numbers of 16 bits, of which all high bytes come first. */
function joined(bytes) {
  const count = bytes.length / 2;
  return Uint16Array.from({ length: count }, (_, i) => 256 * bytes[i] + bytes[count + i]);
}

/** Whatever else waits for this page comes first. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

/** A network that answers one question after the other. */
class Network {
  static async open(name, ort = processor, where = "wasm") {
    const made = new Network();
    made.session = await ort.InferenceSession.create(new Uint8Array(await unpacked(name)), { executionProviders: [where] });
    Object.assign(made, { ort, where, last: Promise.resolve() });
    return made;
  }

  run(data, shape) {
    const asked = this.last.then(async () => {
      const { session } = this;
      const found = await session.run({ [session.inputNames[0]]: new this.ort.Tensor("float32", data, shape) });
      return found[session.outputNames[0]].data;
    });
    this.last = asked.catch(() => null).then(pause);
    return asked;
  }
}

class PackedRun extends Run {
  atOnce = AT_ONCE.wasm;

  async blob(name) {
    const bytes = await unpacked(name);
    return this.manifest.arrays[name]?.planes ? joined(new Uint8Array(bytes)).buffer : bytes;
  }

  /** The map does not wait for what runs networks, which is most of this page. */
  network(name) {
    return this.once(name, async () => {
      processor.env.wasm.wasmBinary = await this.once("runtime", () => unpacked("wasm"));
      return Network.open(name);
    });
  }

  /** Pictures lie here as thumbnails alone; what the model makes of them is decoded from the codes that lie here too. */
  async picture(place) {
    const [left, top, side] = this.thumbAt(place);
    const scale = side / Math.max(this.width, this.height);
    const [w, h] = [this.width, this.height].map((each) => Math.max(1, Math.round(each * scale)));
    const options = { resizeWidth: this.width, resizeHeight: this.height, resizeQuality: "high" };
    return createImageBitmap(await this.thumbs(), left + ((side - w) >> 1), top + ((side - h) >> 1), w, h, options);
  }

  async encode(file) {
    const rgba = fitted(await bitmapOf(file), this, this.manifest.crop);
    const count = this.width * this.height;
    const x = Float32Array.from({ length: this.channels * count }, (_, i) => rgba[4 * (i % count) + Math.floor(i / count)] / 255);
    return Float32Array.from(await (await this.network("encoder")).run(x, [1, ...this.manifest.image]));
  }

  async decode(z) {
    const decoder = await this.network("decoder");
    return this.drawn(z, decoder).catch((error) => {
      if (!decoder.spare) throw error;
      this.take(decoder.spare); // a card can be taken away
      return this.decode(z);
    });
  }

  /** Decode by this network from now on. */
  take(decoder) {
    this.kept.set("decoder", Promise.resolve(decoder));
    this.atOnce = AT_ONCE[decoder.where];
    document.documentElement.dataset.engine = decoder.where;
  }

  async drawn(z, decoder) {
    const n = z.length / this.latent;
    const found = await decoder.run(z, [n, this.latent]);
    const count = this.width * this.height;
    const bytes = new Uint8Array(n * count * this.channels);
    for (let k = 0; k < n; k++)
      for (let c = 0; c < this.channels; c++)
        for (let i = 0, from = (k * this.channels + c) * count; i < count; i++)
          bytes[(k * count + i) * this.channels + c] = Math.round(255 * found[from + i]);
    return this.rgba(bytes);
  }

  /** Draws from N(0, I), by a generator of their own: the same seed gives the same codes on this page. */
  async sample({ n, seed, temperature }) {
    let state = (seed + 1) * 0x9e3779b9;
    const uniform = () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return Array.from({ length: n }, () => Float32Array.from({ length: this.latent }, () => temperature * normal()));
  }

  /** By how much of 255 pictures by this decoder differ from those that torch computed, at most. */
  async gap(decoder) {
    const golden = this.rgba(await this.array("golden"));
    const mine = await this.drawn(await this.array("golden_z"), decoder);
    return golden.reduce((most, value, i) => Math.max(most, Math.abs(value - mine[i])), 0);
  }

  /** How long this decoder takes for the same pictures, ms. */
  async pace(decoder) {
    const z = await this.array("golden_z");
    const began = performance.now();
    for (let i = 0; i < TIMED; i++) await this.drawn(z, decoder);
    return (performance.now() - began) / TIMED;
  }
}

/**
 * Have a graphics card decode where the page brought what it takes, the browser lets it, and it draws what torch drew, sooner than
 * `spare` on the processor. With ?engine=webgpu in the address one that is slower will do, such as an imitation.
 */
async function tryCard(run, spare) {
  const asked = new URLSearchParams(location.search).get("engine") === "webgpu";
  const adapter = manifest.card && "Suspending" in WebAssembly ? await navigator.gpu?.requestAdapter() : null;
  if (!adapter || (adapter.info.isFallbackAdapter && !asked)) return;
  const card = await import("ort-card");
  card.env.wasm.numThreads = 1;
  card.env.wasm.wasmBinary = await unpacked("wasm-card");
  const decoder = Object.assign(await Network.open("decoder", card, "webgpu"), { spare });
  run.card = await run.gap(decoder);
  if (run.card <= GOLDEN && (asked || (await run.pace(decoder)) < (await run.pace(spare)))) run.take(decoder);
}

/** See whether this browser draws what torch drew, and say so for as long as the page is open where it does not. */
async function check(run) {
  const decoder = await run.network("decoder");
  run.take(decoder);
  const gap = await run.gap(decoder);
  if (gap > GOLDEN) note(`Do not trust the pictures that are decoded here: this browser computes others than the model, by up to ${gap} of 255. Open the page in another one.`);
  run.agreed = gap;
  await tryCard(run, decoder).catch((error) => console.info(`No graphics card: ${error.message}`));
  run.settled = performance.now();
}

processor.env.wasm.numThreads = 1;
const manifest = JSON.parse(document.getElementById("manifest").textContent);
const run = new PackedRun(manifest.name, manifest);
start({ live: false, listed: async () => [{ name: manifest.name }], open: () => run }).then(
  () => requestAnimationFrame(() => setTimeout(() => check(run))), // the map first: opening a network stops everything else
  (error) => (document.getElementById("main").textContent = error.message),
);

// The page without a server of its own: arrays and networks lie in it or beside it, and this browser computes.

import * as ort from "ort";
import { start } from "studio/app.js";
import { note } from "studio/dom.js";
import { bitmapOf, fitted } from "studio/fitted.js";
import { answer, Run } from "studio/run.js";

const GOLDEN = 2; // of 255, that pictures computed here may differ from those that torch computed

/** A blob by name: a part of this page, or a file beside it. */
async function packed(name) {
  const part = document.getElementById(`blob-${name}`);
  if (!part) return (await answer(`data/${name}.bin`)).body;
  const letters = atob(part.textContent);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i); // many times as fast as Uint8Array.from
  return new Blob([bytes]).stream();
}

async function unpacked(name) {
  return new Response((await packed(name)).pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** A network that answers one question after the other. */
class Network {
  static async open(name) {
    const made = new Network();
    made.session = await ort.InferenceSession.create(new Uint8Array(await unpacked(name)), { executionProviders: ["wasm"] });
    made.last = Promise.resolve();
    return made;
  }

  run(data, shape) {
    const asked = this.last.then(async () => {
      const { session } = this;
      const found = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", data, shape) });
      return found[session.outputNames[0]].data;
    });
    this.last = asked.catch(() => null);
    return asked;
  }
}

class PackedRun extends Run {
  blob(name) {
    return unpacked(name);
  }

  network(name) {
    return this.once(name, () => Network.open(name));
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
    const n = z.length / this.latent;
    const found = await (await this.network("decoder")).run(z, [n, this.latent]);
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

  /** By how much of 255 pictures differ here from those that torch computed, at most. */
  async gap() {
    const [z, golden] = [await this.array("golden_z"), await this.array("golden")];
    const mine = await this.decode(z);
    return this.rgba(golden).reduce((most, value, i) => Math.max(most, Math.abs(value - mine[i])), 0);
  }
}

ort.env.wasm.numThreads = 1;
const manifest = JSON.parse(document.getElementById("manifest").textContent);
let opened = null;

async function open() {
  ort.env.wasm.wasmBinary = await unpacked("wasm");
  const run = new PackedRun(manifest.name, manifest);
  run.gap().then((gap) => {
    if (gap > GOLDEN) note(`Do not trust the pictures that are decoded here: this browser computes others than the model, by up to ${gap} of 255. Open the page in another one.`);
    run.agreed = gap;
  });
  return run;
}

start({
  live: false,
  listed: async () => [{ name: manifest.name }],
  open() {
    opened ??= open().catch((error) => {
      opened = null; // so that it can be tried again
      throw error;
    });
    return opened;
  },
}).catch((error) => {
  document.getElementById("main").textContent = error.message;
});

// A run as the page asks it: the same questions to the server, and to the model in this browser.
// Shapes: n codes of D latents in rows; pictures as RGBA bytes, n * H * W * 4.

import { record, recorded } from "studio/film.js";
import { rows } from "studio/space.js";

const TYPES = { "<f4": Float32Array, "<u2": Uint16Array, "<i4": Int32Array, "|u1": Uint8Array };

export function rgbaOf(bytes, channels) {
  const count = bytes.length / channels;
  const made = new Uint8ClampedArray(4 * count);
  for (let i = 0, from = 0, to = 0; i < count; i++, from += channels, to += 4) {
    made[to] = bytes[from];
    made[to + 1] = bytes[from + (channels > 1 ? 1 : 0)];
    made[to + 2] = bytes[from + (channels > 1 ? 2 : 0)];
    made[to + 3] = channels === 4 ? bytes[from + 3] : 255;
  }
  return made;
}

/**
 * What both kinds of runs share. A kind has blob(name), picture(place, kind), encode(file), decode(z, given) and sample(wish).
 * given: what a conditional model is told, ["label=3"].
 */
export class Run {
  films = recorded;

  constructor(name, manifest) {
    this.name = name;
    this.manifest = manifest;
    const [channels, height, width] = manifest.image;
    Object.assign(this, { channels, height, width, latent: manifest.latent, kept: new Map() });
  }

  /** An array of the manifest, loaded once; null where this run has none of that name. */
  async array(name) {
    const about = this.manifest.arrays[name];
    if (!about) return null;
    return this.once(name, () => this.blob(name).then((bytes) => new TYPES[about.type](bytes)));
  }

  /** The atlas of thumbnails, and where a place of the map lies in it. */
  async thumbs() {
    return this.once("thumbs", () => this.blob("thumbs").then((bytes) => createImageBitmap(new Blob([bytes], { type: "image/webp" }))));
  }

  /** What `make` gives, made once; what failed is tried again the next time. */
  once(name, make) {
    if (!this.kept.has(name)) {
      const made = Promise.resolve(make());
      made.catch(() => this.kept.delete(name));
      this.kept.set(name, made);
    }
    return this.kept.get(name);
  }

  thumbAt(place) {
    const { side, columns, count } = this.manifest.thumbs;
    return place < count ? [(place % columns) * side, Math.floor(place / columns) * side, side] : null;
  }

  /** (n, H, W, C) bytes as RGBA. */
  rgba(bytes) {
    return rgbaOf(bytes, this.channels);
  }

  /** The pictures of codes as a film of one of the kinds in `films`. */
  async film(z, kind, given = []) {
    return record(this.pictures(await this.decode(rows(z), given)), this.width, this.height, kind);
  }

  /** Several pictures of RGBA bytes, one by one. */
  pictures(rgba) {
    const size = 4 * this.height * this.width;
    return Array.from({ length: rgba.length / size }, (_, i) => rgba.slice(i * size, (i + 1) * size));
  }
}

/** A run that the studio's server answers for. */
export class RemoteRun extends Run {
  films = [...SERVED, ...recorded];

  static async open(name) {
    return new RemoteRun(name, await answer(`/api/runs/${encodeURIComponent(name)}/manifest`).then((got) => got.json()));
  }

  get at() {
    return `/api/runs/${encodeURIComponent(this.name)}`;
  }

  /** The state that this manifest is of: the server refuses to answer for another one. */
  get state() {
    return ["state", this.manifest.state];
  }

  async blob(name) {
    return (await answer(`${this.at}/arrays/${name}?${new URLSearchParams([this.state])}`)).arrayBuffer();
  }

  async picture(place, kind) {
    const asked = new URLSearchParams([["kind", kind], this.state]);
    return createImageBitmap(await (await answer(`${this.at}/pictures/${place}?${asked}`)).blob());
  }

  async encode(file) {
    const where = `${this.at}/encode?${new URLSearchParams([this.state])}`;
    const got = await answer(where, { method: "POST", body: file, headers: { "content-type": RAW } });
    return Float32Array.from((await got.json()).mu);
  }

  async decode(z, given = []) {
    const told = new URLSearchParams([...given.map((each) => ["given", each]), this.state]);
    const got = await answer(`${this.at}/decode?${told}`, { method: "POST", body: z, headers: { "content-type": RAW } });
    return this.rgba(new Uint8Array(await got.arrayBuffer()));
  }

  async sample(wish) {
    const { z } = await (await this.ask("sample", wish)).json();
    return z.map((code) => Float32Array.from(code));
  }

  async film(z, kind, given = []) {
    if (!SERVED.includes(kind)) return super.film(z, kind, given);
    return (await this.ask("film", { z: z.map((code) => Array.from(code)), kind, fps: 24, given })).blob();
  }

  ask(what, body) {
    return answer(`${this.at}/${what}?${new URLSearchParams([this.state])}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  }
}

const RAW = "application/octet-stream";
const SERVED = ["gif", "webp"]; // films that the server makes

/** A response, or an error that says what the server said. */
export async function answer(where, how) {
  const got = await fetch(where, how);
  if (got.ok) return got;
  const told = await got.json().catch(() => ({}));
  throw new Error(told.error ?? `${got.status} ${got.statusText}`);
}

export async function listed() {
  return (await answer("/api/runs")).json();
}

/** Pictures (n, H, W, C) of the same few codes by the weights as they are now: bytes, shape, and how many images these saw. */
export async function now(name) {
  const got = await answer(`/api/runs/${encodeURIComponent(name)}/now`);
  const [shape, [images]] = ["x-shape", "x-images"].map((each) => got.headers.get(each).split(",").map(Number));
  return { shape, images, bytes: new Uint8Array(await got.arrayBuffer()) };
}

export async function log(name, after) {
  return (await answer(`/api/runs/${encodeURIComponent(name)}/log?after=${after}`)).json();
}

// A run as the page asks it: the same questions to the server, and to the model in this browser.
// Shapes: n codes of D latents in rows; pictures as RGBA bytes, n * H * W * 4.

import { record, recorded } from "studio/film.js";
import { rows } from "studio/space.js";

const TYPES = { "<f4": Float32Array, "<u2": Uint16Array, "<i4": Int32Array, "|u1": Uint8Array };
const AT_ONCE = 64; // codes in one question
const FRAME = 3 * 256 ** 2; // bytes of one that the server makes

export const CHANGED = 409; // what the server answers where the weights are others than those of the manifest

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
 * What both kinds of runs share. A kind has blob(name), picture(place), encode(file), decode(z, given) and sample(wish).
 * given: what a conditional model is told, ["label=3"]. Frames of a film: [{z, given}].
 */
export class Run {
  constructor(name, manifest) {
    this.name = name;
    this.manifest = manifest;
    const [channels, height, width] = manifest.image;
    Object.assign(this, { channels, height, width, latent: manifest.latent, kept: new Map(), atOnce: AT_ONCE });
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
    const { side, columns, every } = this.manifest.thumbs;
    const number = place / every;
    return place % every ? null : [(number % columns) * side, Math.floor(number / columns) * side, side];
  }

  /** (n, H, W, C) bytes as RGBA. */
  rgba(bytes) {
    return rgbaOf(bytes, this.channels);
  }

  /** How many frames a film may have. */
  get mostFrames() {
    return Math.floor((64 << 20) / Math.max(FRAME, this.channels * this.height * this.width));
  }

  /** The kinds of films that can be made of a way through stops [{z, given}] in so many frames. */
  filmsOf() {
    return recorded;
  }

  /** Frames as a film of one of those kinds. */
  async film(frames, kind, fps) {
    const pictures = [];
    while (pictures.length < frames.length) {
      const some = frames.slice(pictures.length, pictures.length + this.atOnce);
      const other = some.findIndex((its) => !alike(its, some[0]));
      const told = other < 0 ? some : some.slice(0, other);
      pictures.push(...this.pictures(await this.decode(rows(told.map((its) => its.z)), told[0].given)));
    }
    return record(pictures, this.width, this.height, kind, fps);
  }

  /** The pictures of many codes, one question after the other; not all of them where nobody waits for them any more. */
  async decodeAll(codes, given = [], isOld = () => false) {
    const found = [];
    while (found.length < codes.length && !isOld()) {
      const some = codes.slice(found.length, found.length + this.atOnce);
      found.push(...this.pictures(await this.decode(rows(some), given)));
    }
    return found;
  }

  /** Several pictures of RGBA bytes, one by one. */
  pictures(rgba) {
    const size = 4 * this.height * this.width;
    return Array.from({ length: rgba.length / size }, (_, i) => rgba.slice(i * size, (i + 1) * size));
  }
}

/** A run that the studio's server answers for. */
export class RemoteRun extends Run {
  static async open(name) {
    return new RemoteRun(name, await answer(`/api/runs/${encodeURIComponent(name)}/manifest`).then((got) => got.json()));
  }

  get at() {
    return `/api/runs/${encodeURIComponent(this.name)}`;
  }

  /** The weights that this manifest is of: the server refuses to answer for others. */
  get state() {
    return ["state", this.manifest.state];
  }

  async blob(name) {
    return (await answer(`${this.at}/arrays/${name}?${new URLSearchParams([this.state])}`)).arrayBuffer();
  }

  async picture(place) {
    return createImageBitmap(await (await answer(`${this.at}/pictures/${place}?${new URLSearchParams([this.state])}`)).blob());
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

  /** The server makes films of codes that are all told the same, and reads so many numbers. */
  filmsOf(stops, count) {
    const served = stops.every((its) => alike(its, stops[0])) && count * this.latent * DIGITS <= MOST_JSON;
    return served ? [...SERVED, ...recorded] : recorded;
  }

  async film(frames, kind, fps) {
    if (!SERVED.includes(kind)) return super.film(frames, kind, fps);
    const z = frames.map((its) => Array.from(its.z, (value) => Number(value.toPrecision(9)))); // the same float32, half as long
    return (await this.ask("film", { z, kind, fps, given: frames[0].given })).blob();
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
const DIGITS = 14; // bytes of a number in JSON, with what stands between two
const MOST_JSON = 4 << 20; // bytes of a question in it

const alike = (a, b) => String(a.given) === String(b.given);

/** A response, or an error with what the server said and its status; or one that is `unreachable`. */
export async function answer(where, how) {
  const got = await fetch(where, how).catch(() => {
    throw Object.assign(new Error("Nobody answers. Is what serves this page still there?"), { unreachable: true });
  });
  if (got.ok) return got;
  const told = await got.json().catch(() => ({}));
  throw Object.assign(new Error(told.error ?? `${got.status} ${got.statusText}`), { status: got.status });
}

export async function listed() {
  return (await answer("/api/runs")).json();
}

/** Have the same few codes decoded by the weights as they are now, beside those that were. */
export async function now(name) {
  const got = await answer(`/api/runs/${encodeURIComponent(name)}/now`);
  await got.arrayBuffer();
  return Number(got.headers.get("x-shape").split(",")[0]);
}

/** Pictures (t, n, H, W, C) of the same few codes over time: bytes, shape, and how many images the weights of each had seen. */
export async function earlier(name) {
  const got = await answer(`/api/runs/${encodeURIComponent(name)}/earlier`);
  const [shape, images] = ["x-shape", "x-images"].map((each) => got.headers.get(each).split(",").map(Number));
  return { shape, images, bytes: new Uint8Array(await got.arrayBuffer()) };
}

export async function log(name, after) {
  return (await answer(`/api/runs/${encodeURIComponent(name)}/log?after=${after}`)).json();
}

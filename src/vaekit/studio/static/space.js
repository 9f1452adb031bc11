// Arithmetic of codes and of the plane of the map. Pure functions: no page, no network.
// Shapes: N points, D latents; codes are Float32Array of D numbers, or of n * D in rows.

const FAR = 1e6; // cells of a grid, beyond which a place is looked for as if it were there: a much larger number plus 1 is that number
const DARK = 0.9; // opacity of the dots of a crowded place together
const LAYERS = 200; // of dots, more than which are not told apart: colours are sums of bytes, and fainter ones would be lost in them
const CROWDED = 0.1; // of all points, that have more around them than those of a crowded place

/** Codes packed as 16-bit steps between `low` and `low + span`: the code at a place. */
export class PackedCodes {
  constructor(steps, { low, span }) {
    this.steps = steps;
    this.low = low;
    this.unit = span.map((each) => each / 65535);
    this.latent = low.length;
    this.count = steps.length / this.latent;
  }

  at(place) {
    const code = new Float32Array(this.latent);
    for (let d = 0, i = place * this.latent; d < this.latent; d++, i++) code[d] = this.low[d] + this.steps[i] * this.unit[d];
    return code;
  }

  mean(places) {
    const sum = new Float64Array(this.latent);
    for (const place of places) this.at(place).forEach((value, d) => (sum[d] += value));
    return Float32Array.from(sum, (value) => value / Math.max(places.length, 1));
  }

  /** Draws from the Gaussian, independent along latents, of the codes at some places; `mean` is theirs. */
  like(places, mean, count) {
    const sum = new Float64Array(this.latent);
    for (const place of places) this.at(place).forEach((value, d) => (sum[d] += (value - mean[d]) ** 2));
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    const spread = sum.map((value) => Math.sqrt(value / Math.max(places.length, 1)));
    return Array.from({ length: count }, () => mean.map((value, d) => value + spread[d] * normal()));
  }

  /** The k places whose codes are nearest, near ones first; `keep` says which places count. */
  nearest(z, k, keep = () => true) {
    const found = [];
    for (let place = 0, i = 0; place < this.count; place++, i += this.latent) {
      if (!keep(place)) continue;
      let squared = 0;
      const most = found.length < k ? Infinity : found[k - 1].squared;
      for (let d = 0; d < this.latent && squared < most; d++) {
        const gap = this.low[d] + this.steps[i + d] * this.unit[d] - z[d];
        squared += gap * gap;
      }
      if (squared >= most) continue;
      let at = found.length;
      while (at > 0 && found[at - 1].squared > squared) at--;
      found.splice(at, 0, { place, squared });
      if (found.length > k) found.pop();
    }
    return found.map(({ place, squared }) => ({ place, distance: Math.sqrt(squared) }));
  }
}

export function clamped(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** a + scale * b. */
export function added(a, b, scale = 1) {
  return Float32Array.from(a, (value, i) => value + scale * b[i]);
}

/** z moved along vectors: alphas by name, in standard deviations of the codes along each vector. */
export function edited(z, alphas, vectors) {
  let code = Float32Array.from(z);
  for (const [name, alpha] of Object.entries(alphas)) {
    if (!alpha) continue;
    const { vector, sigmas } = vectors[name];
    code = added(code, vector, alpha / (sigmas || 1));
  }
  return code;
}

/** The code at t in [0, 1] of the way from a to b: straight, or turning on the sphere while the length goes evenly (Shoemake, 1985). */
export function between(a, b, t, kind = "lerp") {
  const straight = Float32Array.from(a, (value, i) => (1 - t) * value + t * b[i]);
  if (kind === "lerp" || t <= 0 || t >= 1) return straight;
  const [la, lb] = [Math.hypot(...a), Math.hypot(...b)];
  if (!la || !lb) return straight;
  const dot = a.reduce((sum, value, i) => sum + value * b[i], 0) / (la * lb);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot)));
  if (Math.sin(angle) < 1e-6) return straight;
  const [wa, wb] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  const length = (1 - t) * la + t * lb;
  return Float32Array.from(a, (value, i) => length * ((wa * value) / la + (wb * b[i]) / lb));
}

/** The code at t in [0, 1] of the way through several stops. */
export function along(stops, t, kind) {
  const leg = Math.min(Math.floor(t * (stops.length - 1)), stops.length - 2);
  return between(stops[leg], stops[leg + 1], t * (stops.length - 1) - leg, kind);
}

export function rows(codes) {
  const all = new Float32Array(codes.reduce((sum, code) => sum + code.length, 0));
  let at = 0;
  for (const code of codes) {
    all.set(code, at);
    at += code.length;
  }
  return all;
}

/** Points of a plane in square cells, so that the nearest ones are found without looking at all; points (N * 2). */
export class Grid {
  constructor(points) {
    this.points = points;
    this.count = points.length / 2;
    this.box = bounds(points);
    const [left, bottom, right, top] = this.box;
    const area = Math.max(right - left, 1e-9) * Math.max(top - bottom, 1e-9);
    const side = Math.max(right - left, top - bottom, 1e-9);
    this.cell = Math.max(Math.sqrt(area / Math.max(this.count / 2, 1)), side / 4096); // points on a line have no area
    this.across = Math.floor((right - left) / this.cell) + 1;
    this.up = Math.floor((top - bottom) / this.cell) + 1;
    const where = new Uint32Array(this.count);
    this.starts = new Uint32Array(this.across * this.up + 1);
    for (let i = 0; i < this.count; i++) {
      where[i] = this.cellOf(points[2 * i], points[2 * i + 1]);
      this.starts[where[i] + 1]++;
    }
    for (let c = 0; c < this.across * this.up; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.order = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) this.order[next[where[i]]++] = i;
  }

  cellOf(x, y) {
    const column = clamped(Math.floor((x - this.box[0]) / this.cell), 0, this.across - 1);
    const row = clamped(Math.floor((y - this.box[1]) / this.cell), 0, this.up - 1);
    return row * this.across + column;
  }

  /** The k nearest points, near ones first: [{place, distance}]. */
  nearest(x, y, k) {
    const column = clamped(Math.floor((x - this.box[0]) / this.cell), -FAR, FAR);
    const row = clamped(Math.floor((y - this.box[1]) / this.cell), -FAR, FAR);
    const found = [];
    const far = Math.max(Math.abs(column), Math.abs(row), Math.abs(column - this.across), Math.abs(row - this.up)) + 1;
    const near = Math.max(0, -column, column - this.across + 1, -row, row - this.up + 1); // the first ring that meets the grid
    for (let ring = near; ring <= far; ring++) {
      if (found.length >= k && found[k - 1].distance < (ring - 1) * this.cell) break;
      for (let r = Math.max(row - ring, 0); r <= Math.min(row + ring, this.up - 1); r++) {
        const edge = r === row - ring || r === row + ring;
        const [first, last] = edge ? [Math.max(column - ring, 0), Math.min(column + ring, this.across - 1)] : [column - ring, column + ring];
        for (let c = first; c <= last; c += edge ? 1 : Math.max(2 * ring, 1)) {
          if (c < 0 || c >= this.across) continue;
          for (let i = this.starts[r * this.across + c]; i < this.starts[r * this.across + c + 1]; i++) {
            const place = this.order[i];
            const distance = Math.hypot(this.points[2 * place] - x, this.points[2 * place + 1] - y);
            if (found.length >= k && distance >= found[k - 1].distance) continue;
            let at = found.length;
            while (at > 0 && found[at - 1].distance > distance) at--;
            found.splice(at, 0, { place, distance });
            if (found.length > k) found.pop();
          }
        }
      }
    }
    return found;
  }

  /** Places inside a rectangle, at most so many; null where there are more. */
  within([left, bottom, right, top], most) {
    const found = [];
    const [first, last] = [this.cellOf(left, bottom), this.cellOf(right, top)];
    for (let r = Math.floor(first / this.across); r <= Math.floor(last / this.across); r++) {
      for (let c = first % this.across; c <= last % this.across; c++) {
        for (let i = this.starts[r * this.across + c]; i < this.starts[r * this.across + c + 1]; i++) {
          const place = this.order[i];
          const [x, y] = [this.points[2 * place], this.points[2 * place + 1]];
          if (x < left || x > right || y < bottom || y > top) continue;
          found.push(place);
          if (found.length > most) return null;
        }
      }
    }
    return found;
  }

  /** How many points lie in a square around one of them where it is crowded, itself among them; at most LAYERS. */
  layers(side) {
    const found = [];
    const step = Math.max(1, Math.floor(this.count / 300));
    for (let i = 0; i < this.count; i += step) {
      const [x, y] = [this.points[2 * i], this.points[2 * i + 1]];
      const square = [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
      found.push(this.within(square, LAYERS)?.length ?? LAYERS);
    }
    found.sort((a, b) => a - b);
    return found[Math.floor((1 - CROWDED) * (found.length - 1))] ?? 1;
  }

  /** How far a point has to its nearest neighbour, in the middle of a few hundred. */
  get usual() {
    const gaps = [];
    const step = Math.max(1, Math.floor(this.count / 300));
    for (let i = 0; i < this.count; i += step) {
      const near = this.nearest(this.points[2 * i], this.points[2 * i + 1], 2);
      if (near.length > 1) gaps.push(near[1].distance);
    }
    gaps.sort((a, b) => a - b);
    return gaps[gaps.length >> 1] || this.cell;
  }
}

/** How opaque a dot is where so many lie on each other in crowded places: these get dark, but not so dark that all is one. */
export function opacity(layers) {
  return Math.min(1 - (1 - DARK) ** (1 / layers), 0.85);
}

export function bounds(points) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    box[0] = Math.min(box[0], points[i]);
    box[1] = Math.min(box[1], points[i + 1]);
    box[2] = Math.max(box[2], points[i]);
    box[3] = Math.max(box[3], points[i + 1]);
  }
  return points.length ? box : [-1, -1, 1, 1];
}

/** From the plane back to codes: the plane itself where there are two latents, else a mean of the codes of points nearby. */
export class Inverse {
  constructor(grid, codes, direct) {
    Object.assign(this, { grid, codes, direct });
    this.typical = grid.usual;
  }

  at(x, y) {
    if (this.direct) return Float32Array.of(x, y);
    const near = this.grid.nearest(x, y, 8);
    const width = Math.max(near[Math.min(3, near.length - 1)].distance, 1e-9);
    const code = new Float64Array(this.codes.latent);
    let total = 0;
    for (const { place, distance } of near) {
      const weight = Math.exp(-0.5 * (distance / width) ** 2);
      total += weight;
      this.codes.at(place).forEach((value, d) => (code[d] += weight * value));
    }
    return Float32Array.from(code, (value) => value / total);
  }

  /** How far the plane can be trusted there, from 1 among points to 0 far from any. */
  trust(x, y) {
    const [near] = this.grid.nearest(x, y, 1);
    return near ? 1 / (1 + (near.distance / (6 * this.typical)) ** 2) : 0;
  }
}

/** Places of points inside a polygon [[x, y], ...], by the even-odd rule. */
export function inside(points, polygon) {
  const corners = Float64Array.from(polygon.flat());
  const [left, bottom, right, top] = bounds(corners);
  const found = [];
  for (let i = 0; i < points.length / 2; i++) {
    const x = points[2 * i];
    const y = points[2 * i + 1];
    if (x < left || x > right || y < bottom || y > top) continue;
    let odd = false;
    for (let a = 0, b = corners.length - 2; a < corners.length; b = a, a += 2) {
      const ya = corners[a + 1];
      const yb = corners[b + 1];
      if (ya > y !== yb > y && x < ((corners[b] - corners[a]) * (y - ya)) / (yb - ya) + corners[a]) odd = !odd;
    }
    if (odd) found.push(i);
  }
  return found;
}

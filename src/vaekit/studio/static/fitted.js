// A picture at the size of a run, by the sums that Python has Pillow do (data/decode.py), in every browser: the same picture, the same code.

const BAND = 256; // rows read at once: a canvas as large as a photograph is more than some browsers allow
const LOBES = 3; // of the Lanczos filter

/** A picture file with its pixels as they are stored, turned as it says. Rejects where this browser cannot draw it. */
export function bitmapOf(file) {
  return createImageBitmap(file, { colorSpaceConversion: "none" });
}

/**
 * RGBA bytes of an image at the size of a run of {width, height, channels}: its middle ("center"), all of it ("stretch"), or all
 * of it with black beside it ("pad"). Transparency lies on white; a run of 4 channels keeps it, and has nothing beside the image.
 */
export function fitted(image, { width, height, channels }, crop) {
  const { part, left, top, w, h } = frame(image, width, height, crop);
  const drawn = resized(image, part, w, h, channels !== 4);
  const made = new Uint8ClampedArray(4 * width * height);
  if (channels !== 4) for (let i = 3; i < made.length; i += 4) made[i] = 255;
  for (let y = 0; y < h; y++) made.set(drawn.subarray(4 * y * w, 4 * (y + 1) * w), 4 * ((top + y) * width + left));
  if (channels === 1) {
    for (let i = 0; i < made.length; i += 4) made.fill((19595 * made[i] + 38470 * made[i + 1] + 7471 * made[i + 2] + 32768) >> 16, i, i + 3);
  }
  return made;
}

/** Which part of an image is shown, [left, top, right, bottom], and where. */
function frame(image, width, height, crop) {
  const whole = { part: [0, 0, image.width, image.height], left: 0, top: 0, w: width, h: height };
  if (crop === "stretch") return whole;
  if (crop === "pad") {
    const wide = image.width / image.height > width / height;
    const w = wide ? width : rounded((image.width / image.height) * height);
    const h = wide ? rounded((image.height / image.width) * width) : height;
    return { ...whole, left: rounded((width - w) / 2), top: rounded((height - h) / 2), w, h };
  }
  const scale = Math.min(image.width / width, image.height / height);
  const [across, down] = [width * scale, height * scale];
  let [left, top] = [(image.width - across) / 2, (image.height - down) / 2];
  if (scale === 1) [left, top] = [Math.floor(left), Math.floor(top)]; // whole pixels stay unblurred
  return { ...whole, part: [left, top, Math.min(left + across, image.width), Math.min(top + down, image.height)] };
}

/** As Python rounds: halves to the even number. */
function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

/** A part of an image as w x h RGBA bytes: across, then down, and bytes between the two as Pillow has them. */
function resized(image, [left, top, right, bottom], w, h, onWhite) {
  const across = taps(left, right, image.width, w);
  const lines = new Uint8ClampedArray(4 * w * image.height);
  const canvas = new OffscreenCanvas(image.width, Math.min(BAND, image.height));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  for (let y = 0; y < image.height; y += BAND) {
    const rows = Math.min(BAND, image.height - y);
    pen.clearRect(0, 0, image.width, BAND);
    if (onWhite) pen.fillRect(0, 0, image.width, BAND);
    pen.drawImage(image, 0, -y);
    const { data } = pen.getImageData(0, 0, image.width, rows);
    scaled(data, (value, alpha) => (value * alpha) / 255); // what cannot be seen has no colour to spread
    weighed(data, lines.subarray(4 * w * y), across, rows, [4 * image.width, 4], [4 * w, 4]);
  }
  const made = new Uint8ClampedArray(4 * w * h);
  weighed(lines, made, taps(top, bottom, image.height, h), w, [4, 4 * w], [4, 4 * w]);
  scaled(made, (value, alpha) => (value * 255) / alpha);
  return made;
}

/** The colours of RGBA bytes by their alpha, where that is neither nothing nor all. */
function scaled(bytes, by) {
  for (let i = 0; i < bytes.length; i += 4) {
    const alpha = bytes[i + 3];
    if (alpha > 0 && alpha < 255) for (let c = i; c < i + 3; c++) bytes[c] = by(bytes[c], alpha);
  }
}

/** For each of `count` pixels between two places of a side of `size` pixels, the first one that it is made of and the weights from there. */
function taps(from, to, size, count) {
  const scale = (to - from) / count;
  const wide = Math.max(scale, 1);
  return Array.from({ length: count }, (_, i) => {
    const centre = from + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - LOBES * wide + 0.5), 0);
    const last = Math.min(Math.trunc(centre + LOBES * wide + 0.5), size);
    const weights = Float64Array.from({ length: last - first }, (_, k) => lanczos((first + k + 0.5 - centre) / wide));
    const sum = weights.reduce((all, each) => all + each, 0);
    return { first, weights: weights.map((each) => each / sum) };
  });
}

function lanczos(x) {
  const sinc = (value) => (value ? Math.sin(Math.PI * value) / (Math.PI * value) : 1);
  return Math.abs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

/** Weighted sums along lines of RGBA; for `from` and `to` the bytes from a line to the next one, and from a pixel of it to the next. */
function weighed(from, to, all, lines, [line, pixel], [toLine, toPixel]) {
  for (let l = 0; l < lines; l++) {
    all.forEach(({ first, weights }, i) => {
      let r = 0;
      let g = 0;
      let b = 0;
      let a = 0;
      for (let k = 0, at = l * line + first * pixel; k < weights.length; k++, at += pixel) {
        const weight = weights[k];
        r += weight * from[at];
        g += weight * from[at + 1];
        b += weight * from[at + 2];
        a += weight * from[at + 3];
      }
      const at = l * toLine + i * toPixel;
      to[at] = r;
      to[at + 1] = g;
      to[at + 2] = b;
      to[at + 3] = a;
    });
  }
}

// A film that the browser records itself.

import { el } from "studio/dom.js";

const SIDE = 256; // pixels that a film has across, or a few more
const CODECS = { mp4: "video/mp4;codecs=avc1.42E01E", webm: "video/webm" };

/** What this browser records, the kind that plays in most places: ["mp4"], ["webm"], or nothing. */
export const recorded = Object.keys(CODECS)
  .filter((kind) => globalThis.MediaRecorder?.isTypeSupported(CODECS[kind]))
  .slice(0, 1);

/** Pictures of RGBA bytes, one after the other, so many a second. */
export async function record(pictures, width, height, kind, fps) {
  const scale = 2 * Math.max(1, Math.round(SIDE / 2 / width)); // even: codecs halve the resolution of colour
  const canvas = el("canvas", { width: width * scale, height: height * scale });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  const images = await Promise.all(pictures.map((rgba) => createImageBitmap(new ImageData(rgba, width, height))));
  const recorder = new MediaRecorder(canvas.captureStream(fps), { mimeType: CODECS[kind] });
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const done = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  for (const image of images) {
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    await new Promise((resolve) => setTimeout(resolve, 1000 / fps));
  }
  recorder.stop();
  await done;
  return new Blob(parts, { type: `video/${kind}` });
}

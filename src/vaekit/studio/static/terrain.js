// The terrain: what the decoder makes of the plane itself, and how far to believe it.

import { el, latest, paint } from "studio/dom.js";

const TILE = 44; // pixels of a tile

/** on: the map's state and view, its size in pixels, the way back from its plane to codes, and what draws it anew. */
export function terrainLayer(canvas, run, { state, view, size, inverse, redraw }) {
  const painted = { ...view }; // the view that it was painted for; until it is painted anew it moves with the map
  let tiles = { of: "", all: [] };
  let closed = false;
  const shown = () => [state.terrain, view.x, view.y, view.scale, ...size()].join(" ");

  const land = latest(async () => {
    if (closed) return;
    const [of, here, [w, h]] = [shown(), { ...view }, size()];
    const isOld = () => closed || shown() !== of;
    const [across, down] = [Math.ceil(w / TILE), Math.ceil(h / TILE)];
    const middles = Array.from({ length: across * down }, (_, i) => [((i % across) + 0.5) * TILE, (Math.floor(i / across) + 0.5) * TILE]);
    const places = middles.map(([px, py]) => [here.x + (px - w / 2) / here.scale, here.y - (py - h / 2) / here.scale]);
    if (state.terrain && tiles.of !== of) {
      const all = await run.decodeAll(places.map(([x, y]) => inverse.at(x, y)), [], isOld);
      if (isOld()) return; // whoever changed it asks again
      tiles = { of, all };
    }
    const pen = canvas.getContext("2d");
    const density = canvas.width / Math.max(w, 1);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, w, h);
    Object.assign(painted, here);
    redraw();
    const tile = el("canvas");
    const ground = getComputedStyle(canvas).getPropertyValue("--ground");
    middles.forEach(([px, py], i) => {
      if (state.terrain) {
        paint(tile, tiles.all[i], run.width, run.height);
        pen.drawImage(tile, px - TILE / 2, py - TILE / 2, TILE, TILE);
      }
      if (state.fog) {
        pen.globalAlpha = 0.85 * (1 - inverse.trust(...places[i]));
        pen.fillStyle = state.terrain ? ground : "#888";
        pen.fillRect(px - TILE / 2, py - TILE / 2, TILE, TILE);
        pen.globalAlpha = 1;
      }
    });
  });

  return {
    land,
    /** Where it is in the view as it is now. */
    follow() {
      const [dx, dy] = [(painted.x - view.x) * view.scale, (view.y - painted.y) * view.scale];
      canvas.style.transform = `translate(${dx}px, ${dy}px) scale(${view.scale / painted.scale})`;
    },
    close() {
      closed = true;
    },
  };
}

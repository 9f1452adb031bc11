// What mouse, fingers and keys do on the map.

import { clamped } from "studio/space.js";

const STEP = 12; // pixels that an arrow key moves the cross
const STILL = 4; // pixels that a click may move
const APART = 4; // pixels between the corners of a lasso

/** on: what the map can do, in pixels of the plane. */
export function hands(plane, on) {
  const fingers = new Map();
  let drag = null;
  const pixel = (event) => [event.offsetX, event.offsetY];
  const far = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);

  plane.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    plane.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, pixel(event));
    const lasso = event.shiftKey || on.lassoing();
    drag = fingers.size > 1 ? null : { last: pixel(event), from: pixel(event), moved: false, corners: lasso ? [pixel(event)] : null };
  });

  plane.addEventListener("pointermove", (event) => {
    const here = pixel(event);
    if (fingers.size === 2 && fingers.has(event.pointerId)) {
      const [before] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const last = fingers.get(event.pointerId);
      fingers.set(event.pointerId, here);
      on.pan((here[0] - last[0]) / 2, (here[1] - last[1]) / 2);
      on.zoom(Math.max(far(here, before), 1) / Math.max(far(last, before), 1), [(here[0] + before[0]) / 2, (here[1] + before[1]) / 2]);
      return;
    }
    if (!drag) {
      on.look(here);
      return;
    }
    drag.moved ||= far(here, drag.from) > STILL;
    if (drag.corners) {
      if (far(here, drag.corners.at(-1)) >= APART) drag.corners.push(here);
      on.draft(drag.corners);
    } else if (drag.moved) {
      on.pan(here[0] - drag.last[0], here[1] - drag.last[1]);
      drag.last = here;
    }
  });

  function end(event) {
    fingers.delete(event.pointerId);
    drag = null;
  }
  plane.addEventListener("pointerup", (event) => {
    const its = drag;
    end(event);
    if (!its) return;
    if (its.corners?.length > 2) on.surround(its.corners);
    else if (!its.moved && !its.corners) {
      on.look(pixel(event));
      if (event.pointerType === "mouse") on.open(); // a finger looks first; a button beside the picture opens it
    }
  });
  plane.addEventListener("pointercancel", end);
  plane.addEventListener("lostpointercapture", end);
  plane.addEventListener("pointerleave", (event) => {
    if (!drag && event.pointerType === "mouse") on.leave();
  });
  plane.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      on.zoom(Math.exp(-event.deltaY / 400), pixel(event));
    },
    { passive: false },
  );

  plane.addEventListener("keydown", (event) => {
    const [w, h] = on.size();
    const cross = on.cross();
    const step = event.shiftKey ? 5 * STEP : STEP;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const acts = {
      "+": () => on.zoom(1.4, cross),
      "=": () => on.zoom(1.4, cross),
      "-": () => on.zoom(1 / 1.4, cross),
      0: () => on.showAll(),
      Enter: () => on.open(),
      l: () => {
        const radius = 0.12 * Math.min(w, h);
        on.surround(Array.from({ length: 24 }, (_, i) => [cross[0] + radius * Math.cos((i * Math.PI) / 12), cross[1] + radius * Math.sin((i * Math.PI) / 12)]));
      },
    };
    const move = moves[event.key];
    const act = acts[event.key] ?? acts[event.key.toLowerCase()];
    if (event.ctrlKey || event.metaKey || event.altKey || !(move || act)) return;
    event.preventDefault();
    if (act) act();
    else {
      const [x, y] = [cross[0] + move[0], cross[1] + move[1]];
      const [inX, inY] = [clamped(x, 0, w), clamped(y, 0, h)];
      if (inX !== x || inY !== y) on.pan(inX - x, inY - y); // past the edge the map moves
      on.look([inX, inY], true);
    }
  });
}

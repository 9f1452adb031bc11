// Elements, and what the page says to whoever listens instead of looking.

/** el("button.big", {onclick}, "Text", child): a tag with classes, properties, attributes (with a dash, or role) and children. */
export function el(what, given = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Told on the page for a moment, and to whoever listens. */
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.classList.add("fresh");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("fresh"), 5000);
}

/** A labelled control: select, range or checkbox. */
export function field(label, control, told) {
  control.id ||= `f${(field.count = (field.count ?? 0) + 1)}`;
  return el("div.field", {}, el("label", { for: control.id }, label), control, told ?? null);
}

export function select(options, value, onchange) {
  const made = el("select", { onchange: () => onchange(made.value) });
  for (const [key, text] of options) made.append(el("option", { value: key, selected: key === value }, text));
  return made;
}

export function slider({ low, high, step, value, label, format = (v) => v.toFixed(1), oninput, onchange }) {
  const told = el("span.number", { "aria-hidden": "true" });
  const made = el("input", { type: "range", min: low, max: high, step, value, "aria-label": label });
  const tell = () => {
    told.textContent = format(+made.value);
    made.setAttribute("aria-valuetext", told.textContent);
  };
  made.addEventListener("input", () => {
    tell();
    oninput(+made.value);
  });
  if (onchange) made.addEventListener("change", () => onchange(+made.value));
  tell();
  return {
    input: made,
    told,
    set(next) {
      made.value = next;
      tell();
    },
  };
}

/** Told on the page until it is taken back: note(text).remove(). */
export function note(text) {
  const made = el("p.note", {}, text);
  document.getElementById("notes").append(made);
  return made;
}

/** What was asked for did not come: the page decides what becomes of it. */
export function failed(error) {
  console.error(error);
  document.dispatchEvent(new CustomEvent("failed", { detail: error }));
}

/** Calls that would overtake each other: while one is under way only the latest waits, the ones between are dropped. */
export function latest(work) {
  let running = false;
  let next = null;
  return async function ask(...given) {
    if (running) {
      next = given;
      return;
    }
    running = true;
    try {
      await work(...given);
    } catch (error) {
      failed(error);
    } finally {
      running = false;
      if (next) {
        const again = next;
        next = null;
        ask(...again);
      }
    }
  };
}

/** Draw one picture of RGBA bytes into a canvas of its size. */
export function paint(canvas, rgba, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
}

export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

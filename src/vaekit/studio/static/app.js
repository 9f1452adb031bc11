// The page: which run, which view, and the address that says so.

import { dark } from "studio/colour.js";
import { el, note, say, select } from "studio/dom.js";
import { editView } from "studio/edit.js";
import { mapView } from "studio/map.js";
import { CHANGED } from "studio/run.js";
import { runsView } from "studio/runs.js";
import { sampleView } from "studio/sample.js";
import { quoted } from "studio/taking.js";

const VIEWS = {
  map: ["Map", mapView],
  edit: ["Edit", editView],
  sample: ["Sample", sampleView],
  runs: ["Run", runsView],
};
const KEYS = { 1: "map", 2: "edit", 3: "sample", 4: "runs" };
const OFTEN = 350; // ms between two changes of the address: browsers stop pages that change it all the time
const AGAIN = 3000; // ms after which the server is asked once more

/**
 * source: {live, listed(), open(name)} and, where it is live, log(name, after), now(name) and earlier(name); where runs come from.
 * open gives null as long as a run has no weights.
 */
export async function start(source) {
  const views = Object.keys(VIEWS).filter((view) => view !== "runs" || source.live);
  const listed = await source.listed();
  let wrote = -OFTEN; // when the address was changed
  let later = null;
  const page = {
    source,
    names: listed.map((its) => its.name),
    state: stateOf(location.hash),
    groups: {},
    pins: [],
    made: {}, // vectors made here, by run
    from: null,

    get vectors() {
      return { ...this.run.manifest.vectors, ...(this.made[this.name] ?? {}) };
    },

    /** Add to the address without changing what is shown. */
    keep(more) {
      Object.assign(this.state, more);
      for (const [key, value] of Object.entries(this.state)) if (value === "" || value === undefined) delete this.state[key];
      const wait = wrote + OFTEN - performance.now();
      if (wait <= 0) write();
      else later ??= setTimeout(write, wait);
    },

    /** Another view, or another run: of a run's state nothing says anything about another one. */
    go(view, { from = null, run = this.name } = {}) {
      if (later) write();
      this.from = from;
      history.pushState(null, "", hashOf(view, run === this.name ? { ...this.state, run } : { run }));
      return show();
    },

    addVector(base, a, b) {
      let name = base;
      for (let number = 2; name in this.vectors; number++) name = `${base} ${number}`;
      const vector = Float32Array.from(a, (value, d) => b[d] - value);
      const { sd } = this.run.manifest.code;
      const length = Math.hypot(...vector) || 1;
      // alpha counts standard deviations of the codes along it, as if latents were independent
      const along = Math.sqrt(vector.reduce((sum, value, d) => sum + ((value / length) * sd[d]) ** 2, 0)) || 1;
      (this.made[this.name] ??= {})[name] = { vector: Array.from(vector), sigmas: length / along, leak: {} };
      say(`${name} is a slider of the editor now`);
      this.go("edit");
    },
  };
  globalThis.studio = page; // for the console

  const main = document.getElementById("main");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const states = {}; // of the weights of each run when it was last looked at
  let shown = null;
  let turn = 0;

  function write() {
    clearTimeout(later);
    later = null;
    wrote = performance.now();
    history.replaceState(null, "", hashOf(page.view, page.state));
  }

  /** Where the address names no view: the map, or how the training goes as long as there is nothing to map. */
  const first = (name) => (listed.find((its) => its.name === name).state === null ? "runs" : "map");

  /** Codes that were made here are those of other weights now; a place of the map is still that picture. */
  function forget() {
    const { place } = page.from ?? {};
    Object.assign(page, { edit: null, pins: [], groups: {}, from: place === undefined ? null : { place } });
    delete page.made[page.name];
    page.keep({ add: "", latents: "" });
    say(`${page.name} has changed: what was edited, pinned, grouped and made of it here is gone`);
  }

  /** The run, as soon as it has weights; null where something else is asked for until then. */
  async function opened(name, mine) {
    while (mine === turn) {
      const run = await source.open(name);
      if (run) return run;
      if (mine === turn) main.replaceChildren(el("p.wait", {}, `${name} has no weights yet. They come with its first validation, and this page waits for them.`));
      await pause(AGAIN);
    }
    return null;
  }

  async function show() {
    const mine = ++turn;
    clearTimeout(later);
    later = null;
    shown?.close?.();
    shown = page.shown = null;
    page.state = stateOf(location.hash);
    const name = page.names.includes(page.state.run) ? page.state.run : page.names[0];
    page.view = views.includes(page.state.view) ? page.state.view : first(name);
    if (name !== page.name) Object.assign(page, { name, run: null, edit: null, pins: [], groups: {} });
    update();
    main.replaceChildren(el("p.wait", {}, "Looking at the pictures …"));
    try {
      if (page.view !== "runs") {
        const run = await opened(name, mine);
        if (mine !== turn) return;
        if ((states[name] ?? run.manifest.state) !== run.manifest.state) forget();
        page.run = run;
        states[name] = run.manifest.state;
      }
      const view = await VIEWS[page.view][1](page);
      if (mine !== turn) {
        view.close?.();
        return;
      }
      shown = page.shown = view;
      main.replaceChildren(...(page.run?.manifest.notes ?? []).map((text) => el("p.note", {}, text)), welcome() ?? "", view);
    } catch (error) {
      if (mine !== turn) return;
      console.error(error);
      if (error.status === CHANGED) {
        await pause(AGAIN); // other weights came while these were opened
        if (mine === turn) show();
        return;
      }
      if (isClosed(error)) closed();
      const again = el("button", { onclick: show }, "Try again");
      main.replaceChildren(el("p.wait", { role: "alert" }, error.message, " ", again));
    }
    if (document.activeElement === document.body) main.focus({ preventScroll: true });
  }

  // What went wrong while somebody looked at something

  const isClosed = (error) => error?.unreachable && source.live;
  let gone = null;

  function failed(error) {
    if (isClosed(error)) closed();
    else if (error?.status !== CHANGED || page.view === "runs") say(error?.message ?? String(error));
    else if (shown) {
      if (later) write();
      show(); // the run as it is now
    }
  }

  /** Told once, until somebody answers again. */
  async function closed() {
    if (gone) return;
    const runs = page.run && page.names.length === 1 ? quoted(page.run.manifest.path) : "RUN";
    gone = note(`The studio is closed. Start it again: vaekit studio ${runs}, and open the address that it prints.`);
    let answered = false;
    while (!answered) {
      await pause(AGAIN);
      answered = await source.listed().then(
        () => true,
        (error) => !error.unreachable,
      );
    }
    gone.remove();
    gone = null;
    if (!shown) show();
  }

  // What stands above every view, made once so that the keyboard's place in it is kept

  const links = Object.fromEntries(
    views.map((view) => {
      const open = (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        page.go(view);
      };
      return [view, el("a", { onclick: open }, VIEWS[view][0])];
    }),
  );
  const picked =
    page.names.length > 1
      ? select(page.names.map((name) => [name, name]), page.names[0], (run) => page.go(page.view, { run }))
      : el("span", {}, page.names[0]);
  if (page.names.length > 1) picked.setAttribute("aria-label", "Run");
  const theme = el("button", { "aria-label": "Dark or light", onclick: turnLight }, "◐");
  document.getElementById("top").replaceChildren(el("strong.mark", {}, "vaekit"), picked, el("nav", { "aria-label": "Views" }, Object.values(links)), theme);

  function update() {
    for (const [view, link] of Object.entries(links)) {
      link.href = hashOf(view, { ...page.state, run: page.name });
      if (view === page.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (page.names.length > 1) picked.value = page.name;
    document.title = `${VIEWS[page.view][0]}, ${page.name} · vaekit studio`;
  }

  function turnLight() {
    remember("theme", dark() ? "light" : "dark");
    light(dark() ? "light" : "dark");
  }

  /** What the visitor chose, else what the system says. */
  function light(chosen = recall("theme")) {
    document.documentElement.dataset.theme = chosen ?? (system.matches ? "dark" : "light");
    page.shown?.repaint?.();
  }

  function welcome() {
    if (recall("welcomed") || page.view !== "map") return null;
    const made = el(
      "div.welcome",
      {},
      el(
        "p",
        {},
        "Every point is a picture, placed by the code that the model gave it: pictures that it finds alike lie together. ",
        "Point anywhere, between the points too, and the decoder draws what would be there. ",
        "Click to open that code in the editor, where sliders change one thing about it.",
      ),
      el("button", { onclick: understood }, "Understood"),
    );
    function understood() {
      remember("welcomed", "1");
      made.remove();
      main.focus();
    }
    return made;
  }

  system.addEventListener("change", () => light());
  light();
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address says which view it is
    main.focus();
  });
  addEventListener("hashchange", show);
  document.addEventListener("failed", (event) => failed(event.detail));
  addEventListener("unhandledrejection", (event) => failed(event.reason));
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // a picture beside its place
  addEventListener("keydown", (event) => {
    const { target } = event; // where something else has the focus, its own keys count, and who dictates means letters
    const free = target === document.body || target === main || target.closest?.("nav");
    const view = KEYS[event.key];
    if (free && !event.ctrlKey && !event.metaKey && !event.altKey && views.includes(view)) page.go(view);
  });
  await show();
  return page;
}

function stateOf(hash) {
  const [view, query] = hash.replace(/^#\/?/, "").split("?");
  return { view, ...Object.fromEntries(new URLSearchParams(query ?? "")) };
}

function hashOf(view, state) {
  const { view: _, ...rest } = state;
  return `#/${view}?${new URLSearchParams(rest)}`;
}

// What a visitor decided; where the browser keeps nothing, they decide again.
function remember(key, value) {
  try {
    localStorage.setItem(`vaekit-${key}`, value);
  } catch {
    say("This browser keeps no settings.");
  }
}

function recall(key) {
  try {
    return localStorage.getItem(`vaekit-${key}`);
  } catch {
    return null;
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

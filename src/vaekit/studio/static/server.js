// The page as the studio's server sends it.

import { start } from "studio/app.js";
import { earlier, listed, log, now, RemoteRun } from "studio/run.js";

const opened = new Map();

start({
  live: true,
  listed,
  log,
  now,
  earlier,
  /** A run, opened once for each state of its files; null where it has no weights yet. */
  async open(name) {
    const its = (await listed()).find((run) => run.name === name);
    if (its?.state === null && its.status !== "unreadable") return null;
    const known = opened.get(name);
    const same = (part) => known && known.manifest[part] === its?.[part];
    if (same("state") && same("parts")) return known;
    const run = await RemoteRun.open(name);
    if (known?.manifest.state === run.manifest.state) run.kept = known.kept; // arrays are of the weights alone
    opened.set(name, run);
    return run;
  },
}).catch((error) => {
  document.getElementById("main").textContent = error.message;
});

// The page as the studio's server sends it.

import { start } from "studio/app.js";
import { listed, log, now, RemoteRun } from "studio/run.js";

const opened = new Map();

start({
  live: true,
  listed,
  log,
  now,
  /** A run, opened once for each state of its weights. */
  async open(name) {
    const its = (await listed()).find((run) => run.name === name);
    const known = opened.get(name);
    if (known && known.manifest.state === its?.state) return known;
    const run = await RemoteRun.open(name);
    opened.set(name, run);
    return run;
  },
}).catch((error) => {
  document.getElementById("main").textContent = error.message;
});

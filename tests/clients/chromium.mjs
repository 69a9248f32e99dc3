// The system's Chromium, without a window.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";
import { TEST_MS } from "./lib.mjs";

/** The system's Chromium: CHROMIUM, else the first of the usual names on the path. */
function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not here.
      }
    }
  }
  throw new Error("no chromium on the path; CHROMIUM may name one");
}

export const launch = () =>
  chromium.launch({
    executablePath: executable(),
    // Root, as in most containers, has no user namespaces to build a sandbox from.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
    timeout: TEST_MS,
  });

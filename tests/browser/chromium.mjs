// Debian's Chromium without a window, for the tests in this directory.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// Launches it. `places` maps where pages want to go to where somebody listens: { "localhost:9998": "127.0.0.1:40123" }. The
// page notices nothing of it, and so can be tested with the address that stands in it, whatever else has that port here.
export function launch(places = {}) {
  const rules = Object.entries(places).map(([from, to]) => `MAP ${from} ${to}`).join(",");
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: rules ? [...FLAGS, `--host-resolver-rules=${rules}`] : FLAGS,
  });
}

// Debian's Chromium without a window. Who tests with it brings the playwright-core that npm has laid beside it.

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// Launches it. `places` maps where pages want to go to where somebody listens: { "localhost:9998": "127.0.0.1:40123" }. The
// page notices nothing of it, and so can be tested with the address that stands in it, whatever else has that port here.
export function launch(chromium, places = {}) {
  const rules = Object.entries(places).map(([from, to]) => `MAP ${from} ${to}`).join(",");
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: rules ? [...FLAGS, `--host-resolver-rules=${rules}`] : FLAGS,
  });
}

// A stentor of our own for a test, and how tests wait: for what should come, up to a deadline that only a fault reaches.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.STENTOR_BIN ?? `${ROOT}/target/debug/stentor`;
export const PATIENCE_MS = 20_000;

// Starts the program with `flags` on `port` (0: a free one) and gives it once it says where it listens.
export function startServer(flags = [], port = 0) {
  const child = spawn(BINARY, ["--listen", `127.0.0.1:${port}`, ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  // However this process ends, the server must not outlive it.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const ended = new Promise((done) => child.once("exit", done)).then(() => process.off("exit", kill));
  const end = (signal) => {
    child.kill(signal);
    return ended;
  };
  return new Promise((done, fail) => {
    let log = "";
    child.once("error", fail);
    child.once("exit", (code) => fail(new Error(`the server ended with ${code}:\n${log}`)));
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      const found = log.match(/listening on 127\.0\.0\.1:(\d+)/);
      if (!found) return;
      const url = `http://127.0.0.1:${found[1]}`;
      done({ port: Number(found[1]), url, ws: url.replace("http", "ws"), end, stop: () => end("SIGTERM") });
    });
  });
}

// What a promise comes to; if it does not in time, a failure that names `what`.
export function within(what, promise, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Asks again and again until it is so.
export async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

// The arguments of the next event of this name.
export const next = (emitter, name) =>
  within(`the event "${name}"`, new Promise((done) => emitter.once(name, (...args) => done(args))));

// One number of /metrics.
export async function metric(server, name) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const found = text.match(new RegExp(`^stentor_${name} (\\d+)$`, "m"));
  assert.ok(found, `/metrics has ${name}`);
  return Number(found[1]);
}

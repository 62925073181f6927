// Runs the page in headless Chromium against one real node: `run.mjs ENGRAM CHROMIUM`. See docs/testing/browser.md.
//
// Prints a line for each check; exits with 1 when one failed, or when nothing is heard in time.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { freeAddress, listen, pages, Relay } from "./servers.mjs";

/** For all of it, and for the node to answer; many times what they take on a busy machine. */
const RUN_MS_MAX = 300_000;
const START_MS_MAX = 60_000;
const POLL_MS = 100;
/** Lines of the browser's own words that are shown when it fails. */
const BROWSER_LINES = 30;

const [engram, chromium] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, "../../..");
const exec = promisify(execFile);

/** Processes to end, with their process groups. */
const children = [];

function start(command, args, stdio) {
  const child = spawn(command, args, { stdio, detached: true });
  children.push(child);
  return child;
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  process.kill(-child.pid, "SIGKILL");
  await ended;
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => Promise.all(children.map(stop)).then(() => process.exit(1)));
}

/** A cluster of one with the space `browser`; pages of `origin` may connect. */
async function startNode(dir, listenAddress, origin) {
  const peer = await freeAddress();
  const node = start(engram, [
    "serve", "--node-id", "1", "--data-dir", path.join(dir, "data"), "--listen", listenAddress, "--peer-listen", peer,
    "--allowed-origins", origin, "--log", "warn", "--stop-with-stdin",
  ], ["pipe", "inherit", "inherit"]);
  const late = Date.now() + START_MS_MAX;
  while (!(await fetch(`http://${listenAddress}/livez`).then((answer) => answer.ok, () => false))) {
    if (node.exitCode !== null) throw new Error(`the node ended with ${node.exitCode}`);
    if (Date.now() > late) throw new Error(`the node does not answer within ${START_MS_MAX} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  const env = { ...process.env, ENGRAM_ENDPOINTS: listenAddress };
  await exec(engram, ["cluster", "init", "--node", `1=${listenAddress},${peer}`], { env });
  await exec(engram, ["space", "create", "browser", "--dim", "64"], { env });
}

/** Opens the page. What the browser says is kept for the case that it fails. */
function startBrowser(dir, url) {
  const browser = start(chromium, [
    // Its sandbox needs rights that containers lack; it sees nothing but this page.
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    `--user-data-dir=${path.join(dir, "browser")}`, url,
  ], ["ignore", "ignore", "pipe"]);
  const said = [];
  browser.stderr.setEncoding("utf8").on("data", (text) => {
    // It complains of every bus that a machine without a desktop has not.
    said.push(...text.split("\n").filter((line) => line && !line.includes("dbus")));
    said.splice(0, said.length - BROWSER_LINES);
  });
  const ended = new Promise((resolve) => browser.once("exit", resolve).once("error", resolve));
  return { said, ended };
}

/** Everything, to the page's last word: why it failed, or nothing. */
async function run(dir) {
  let resolve;
  const verdict = new Promise((resolved) => (resolve = resolved));
  const report = (body) => {
    const { ok, done, failed } = JSON.parse(body);
    if (ok) console.log(`ok      ${ok}`);
    if (done) resolve(null);
    if (failed) resolve(failed);
  };
  const node = await freeAddress();
  const relay = new Relay(node);
  const folders = { "/proto/": path.join(root, "proto/proto"), "/": here };
  const posts = { "/report": report, "/break": (body) => relay.breakAfter(Number(body)) };
  const config = { node, relay: await listen(relay.server) };
  const origin = `http://${await listen(pages(folders, posts, () => config))}`;
  config.foreign = `http://${await listen(pages(folders, {}, () => config))}`;
  await startNode(dir, node, origin);
  const browser = startBrowser(dir, `${origin}/`);
  const late = new Promise((resolve) => setTimeout(resolve, RUN_MS_MAX, `nothing more is heard in ${RUN_MS_MAX} ms`));
  const ended = browser.ended.then((how) => `the browser ended: ${how}`);
  const silent = Promise.race([late, ended]).then((why) => [why, ...browser.said].join("\n        "));
  return Promise.race([verdict, silent]);
}

const dir = await mkdtemp(path.join(os.tmpdir(), "engram-browser-"));
const failed = await run(dir).catch((error) => error.stack);
await Promise.all(children.map(stop));
await rm(dir, { recursive: true, force: true });
if (failed) console.log(`FAILED  ${failed}`);
process.exit(failed ? 1 : 0);

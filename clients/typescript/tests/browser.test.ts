// The client in headless Chromium against real nodes: each call, an example, and a load over cuts and a killed leader.
//
// Everything is bundled and served from here; no network is needed.

import { build } from "esbuild";
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Cluster, HERE, listen } from "./cluster.js";

const COUNT = 10_000;
/** As in the tests of Node.js: far fewer bytes than the rows have. */
const CUTS = [20_000, 60_000];
/** Lines of the browser's own words that are shown when it fails. */
const BROWSER_LINES = 30;

/** A module and all that it imports, as browsers take it. */
async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [path.join(HERE, entry)],
    alias: { "engram-client": path.join(HERE, "src/index.ts") },
    bundle: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}

const html = (script: string, before = "") =>
  `<!doctype html><meta charset="utf-8"><title>engram</title>${before}<script type="module" src="${script}"></script>`;

/** What an example prints is told, and how it ended. */
const LISTEN = `<script>
  const lines = [];
  const report = (body) => fetch("/report", { method: "POST", body: JSON.stringify(body) });
  console.log = (line) => lines.push(line);
  console.error = (line) => report({ failed: line });
  addEventListener("error", ({ message }) => report({ failed: message }));
  addEventListener("unhandledrejection", ({ reason }) => report({ failed: String(reason) }));
</script>`;

interface Report {
  readonly ok?: string;
  readonly failed?: string;
  readonly done?: unknown;
}

/** The pages' server. What it is told goes to `tell`; the answer to a post is sent once what it asks for is done. */
function pages(files: ReadonlyMap<string, string>, posts: Record<string, (body: string) => Promise<void> | void>) {
  return http.createServer((request, response) => {
    void (async () => {
      const { pathname } = new URL(request.url ?? "/", "http://page");
      const post = posts[pathname];
      if (request.method === "POST" && post !== undefined) {
        let body = "";
        for await (const part of request) body += String(part);
        await post(body);
        response.writeHead(204).end();
        return;
      }
      const file = files.get(pathname);
      const type = pathname.endsWith(".js") ? "text/javascript" : "text/html";
      response.writeHead(file === undefined ? 404 : 200, { "content-type": type }).end(file);
    })();
  });
}

/** Opens a page, and closes the browser when `verdict` is there: why it failed, or nothing. */
async function browse(url: string, verdict: Promise<string | undefined>): Promise<void> {
  const profile = await mkdtemp(path.join(os.tmpdir(), "engram-typescript-browser-"));
  const chromium = process.env["CHROMIUM"] ?? execFileSync("which", ["chromium"], { encoding: "utf8" }).trim();
  const flags = [
    // Its sandbox needs rights that containers lack; it sees nothing but this page.
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"],
  ];
  const browser: ChildProcess = spawn(chromium, [...flags, `--user-data-dir=${profile}`, url], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  const said: string[] = [];
  browser.stderr?.setEncoding("utf8").on("data", (text: string) => {
    // It complains of every bus that a machine without a desktop has not.
    said.push(...text.split("\n").filter((line) => line !== "" && !line.includes("dbus")));
    said.splice(0, said.length - BROWSER_LINES);
  });
  const exited = once(browser, "exit");
  // With its process group, also where the tests themselves are ended.
  const kill = () => {
    if (browser.pid !== undefined && browser.exitCode === null && browser.signalCode === null) {
      process.kill(-browser.pid, "SIGKILL");
    }
  };
  const leave = () => process.exit(1);
  process.once("exit", kill).once("SIGTERM", leave).once("SIGINT", leave);
  try {
    const failed = await Promise.race([verdict, exited.then(([code]) => `the browser ended with ${code}`)]);
    if (failed !== undefined) assert.fail([failed, ...said].join("\n"));
  } finally {
    kill();
    await exited;
    process.off("exit", kill).off("SIGTERM", leave).off("SIGINT", leave);
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

test("a page makes every call, and streams 10,000 rows over two cuts and a killed leader", async () => {
  let tell: (failed: string | undefined) => void = () => {};
  const told = () => new Promise<string | undefined>((resolve) => (tell = resolve));
  const oks: string[] = [];
  let printed: unknown;
  let cluster: Cluster | undefined;
  const report = (body: string) => {
    const { ok, failed, done } = JSON.parse(body) as Report;
    if (ok !== undefined) oks.push(ok);
    if (done !== undefined) printed = done;
    if (failed !== undefined || done !== undefined) tell(failed);
  };
  const files = new Map<string, string>();
  const server = pages(files, {
    "/report": report,
    "/cut": () => cluster?.cuts.plan(...CUTS),
    "/kill": async () => cluster?.kill(await cluster.leader()),
  });
  const origin = `http://${await listen(server)}`;
  try {
    cluster = await Cluster.start(3, [origin]);
    files.set("/config", JSON.stringify({ endpoints: cluster.endpoints, count: COUNT }));
    files.set("/page.js", await bundle("tests/browser/page.ts"));
    files.set("/", html("/page.js"));
    files.set("/example.js", `${await bundle("examples/agent_memory.js")}\nreport({ done: lines });`);
    files.set("/example", html("/example.js", LISTEN));

    await browse(`${origin}/example?node=${cluster.endpoints[0]}`, told());
    assert.deepEqual((printed as string[]).at(-1), "forgotten: 4; left: 1");
    await browse(`${origin}/`, told());
    assert.deepEqual(oks.at(-1), `${COUNT} rows, each once and in order`);
    assert.equal(cluster.cuts.made, CUTS.length);
  } finally {
    server.close();
    server.closeAllConnections();
    await cluster?.stop();
  }
});

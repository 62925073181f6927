// A cluster of real nodes: started, initialised, killed and ended here; each behind a proxy that can cut connections.

import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Many times what anything takes on a busy machine. */
export const PATIENCE_MS = 60_000;
const POLL_MS = 20;
const HOST = "127.0.0.1";

const exec = promisify(execFile);

/** The package's directory; the tests run compiled, from `build/tests`. */
export const HERE = path.resolve(fileURLToPath(import.meta.url), "../../..");
export const ROOT = path.resolve(HERE, "../..");

/** The server: ENGRAM_BIN, or what the last build left. */
function binary(): string {
  const { ENGRAM_BIN, CARGO_TARGET_DIR } = process.env;
  const target = CARGO_TARGET_DIR ?? path.join(ROOT, "target");
  const built = ["debug", "release"].map((profile) => path.join(target, profile, "engram"));
  const places = ENGRAM_BIN === undefined ? built : [ENGRAM_BIN];
  const place = places.find((each) => existsSync(each));
  assert.ok(place !== undefined, `no engram in ${places.join(", ")}: cargo build, or set ENGRAM_BIN`);
  return place;
}

/** What `look` finds, once it finds something. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < end, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Listens on a free port: the address. */
export async function listen(server: net.Server): Promise<string> {
  server.listen(0, HOST);
  await once(server, "listening");
  return `${HOST}:${(server.address() as net.AddressInfo).port}`;
}

/** Addresses that were free a moment ago. */
async function freeAddresses(count: number): Promise<string[]> {
  const servers = Array.from({ length: count }, () => net.createServer());
  const addresses = await Promise.all(servers.map(listen));
  await Promise.all(servers.map((server) => promisify(server.close.bind(server))()));
  return addresses;
}

/** When connections are cut: by the bytes that clients have sent to any node since the cuts were planned. */
export class Cuts {
  #plan: number[] = [];
  #passed = 0;
  /** Connections that were cut. */
  made = 0;

  plan(...afterBytes: number[]): void {
    this.#plan = afterBytes;
    this.#passed = this.made = 0;
  }

  /** How many of these bytes may pass: fewer than come, when the connection is to be cut. */
  pass(bytes: number): number {
    const [next = Infinity] = this.#plan;
    const passes = Math.min(bytes, next - this.#passed);
    this.#passed += passes;
    if (passes === bytes) return bytes;
    this.#plan.shift();
    this.made += 1;
    return passes;
  }
}

/** Passes bytes on to a node, and cuts in the middle of what a client sends. */
function proxy(node: string, cuts: Cuts): net.Server {
  const [host, port] = node.split(":");
  return net.createServer((client) => {
    const upstream = net.connect(Number(port), host);
    const end = () => (client.destroy(), upstream.destroy());
    client.on("data", (bytes) => {
      const passes = cuts.pass(bytes.length);
      const room = upstream.write(bytes.subarray(0, passes));
      if (passes < bytes.length) end();
      else if (!room) client.pause();
    });
    upstream.on("drain", () => client.resume()).pipe(client);
    for (const side of [client, upstream]) side.on("error", end).on("close", end);
  });
}

/** Nodes 1 to `count`. Those that still run at the end are ended, by their process ids. */
export class Cluster {
  /** Where clients go: the proxies, which the nodes name as their own addresses. */
  endpoints: string[] = [];
  readonly cuts = new Cuts();
  /** The nodes themselves, around the proxies. */
  nodes: string[] = [];
  readonly #binary = binary();
  readonly #origins: readonly string[];
  #directory = "";
  #peers: string[] = [];
  readonly #proxies: net.Server[] = [];
  readonly #processes = new Map<number, ChildProcess>();

  private constructor(origins: readonly string[]) {
    this.#origins = origins;
  }

  /** Pages of `origins` may connect. */
  static async start(count: number, origins: readonly string[] = []): Promise<Cluster> {
    const cluster = new Cluster(origins);
    try {
      await cluster.#begin(count);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #begin(count: number): Promise<void> {
    this.#directory = await mkdtemp(path.join(os.tmpdir(), "engram-typescript-"));
    const addresses = await freeAddresses(2 * count);
    this.nodes = addresses.slice(0, count);
    this.#peers = addresses.slice(count);
    this.#proxies.push(...this.nodes.map((node) => proxy(node, this.cuts)));
    this.endpoints = await Promise.all(this.#proxies.map(listen));
    const numbers = Array.from({ length: count }, (_, at) => at + 1);
    await Promise.all(numbers.map((number) => this.startNode(number)));
    const members = numbers.map((number) => `${number}=${this.endpoints[number - 1]},${this.#peers[number - 1]}`);
    await this.run("cluster", "init", ...members.flatMap((member) => ["--node", member]));
    await Promise.all(numbers.map((number) => this.ready(number)));
  }

  /** Runs a command of the server's against this cluster: what it prints. */
  async run(...args: string[]): Promise<string> {
    const env = { ...this.#env(), ENGRAM_ENDPOINTS: this.nodes.join(",") };
    return (await exec(this.#binary, args, { env, timeout: PATIENCE_MS })).stdout;
  }

  /** This shell's settings of another node are none of theirs. */
  #env(): NodeJS.ProcessEnv {
    return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ENGRAM_")));
  }

  async createSpace(name: string, dim: number, ...flags: string[]): Promise<void> {
    await this.run("space", "create", name, "--dim", String(dim), ...flags);
  }

  /** Starts a node, and waits until it answers. Its log is in a file beside its data. */
  async startNode(number: number): Promise<void> {
    const log = await open(this.#log(number), "a");
    const origins = this.#origins.length === 0 ? [] : ["--allowed-origins", this.#origins.join(",")];
    const node = spawn(
      this.#binary,
      [
        ...["serve", "--node-id", String(number), "--data-dir", path.join(this.#directory, `node${number}`)],
        ...["--listen", this.nodes[number - 1] ?? "", "--peer-listen", this.#peers[number - 1] ?? ""],
        ...["--stop-with-stdin", ...origins],
      ],
      { env: this.#env(), stdio: ["pipe", "ignore", log.fd] },
    );
    await log.close();
    this.#processes.set(number, node);
    await eventually(`node ${number} lives`, () => this.#probe(number, "livez"));
  }

  ready(number: number): Promise<string> {
    return eventually(`node ${number} is ready`, () => this.#probe(number, "readyz"));
  }

  #log(number: number): string {
    return path.join(this.#directory, `node${number}.log`);
  }

  /** What a node says at that path; `undefined`: it does not, yet. */
  async #probe(number: number, at: string): Promise<string | undefined> {
    const node = this.#processes.get(number);
    const ended = node === undefined || node.exitCode !== null || node.signalCode !== null;
    assert.ok(!ended, `node ${number} ended: ${ended ? await readFile(this.#log(number), "utf8") : ""}`);
    const url = `http://${this.nodes[number - 1]}/${at}`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(5000) }).catch(() => undefined);
    const body = await answer?.text().catch(() => undefined);
    return answer?.ok === true ? body : undefined;
  }

  /** The number of the node that leads. */
  leader(): Promise<number> {
    return eventually("a leader", async () => {
      for (const number of this.#processes.keys()) {
        const metrics = await this.#probe(number, "metrics");
        if (metrics !== undefined && /^engram_raft_is_leader 1$/m.test(metrics)) return number;
      }
      return undefined;
    });
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(number: number): Promise<void> {
    const node = this.#processes.get(number);
    this.#processes.delete(number);
    if (node === undefined || node.exitCode !== null || node.signalCode !== null) return;
    const ended = once(node, "exit");
    node.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#processes.keys()].map((number) => this.kill(number)));
    for (const each of this.#proxies) each.close();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** A cluster for as long as the test takes. */
export async function withCluster(count: number, test: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = await Cluster.start(count);
  try {
    await test(cluster);
  } finally {
    await cluster.stop();
  }
}

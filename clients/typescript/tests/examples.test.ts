// The examples and the README's first steps, run as a person would, against a fresh node of one; the package as it is
// installed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Cluster, HERE, PATIENCE_MS } from "./cluster.js";

const exec = promisify(execFile);
const EXAMPLE_LINES_MAX = 60;
let cluster: Cluster;
let node: string;
/** A project that has the package installed, from what `npm pack` makes. */
let project: string;

before(async () => {
  project = await mkdtemp(path.join(os.tmpdir(), "engram-typescript-project-"));
  cluster = await Cluster.start(1);
  node = cluster.endpoints[0] ?? "";
  await install();
});
after(async () => {
  await cluster?.stop();
  await rm(project, { recursive: true, force: true });
});

/** As `npm install engram-client` would, without a network: what it needs is what this package has installed. */
async function install(): Promise<void> {
  // The build is there: it is what these tests were compiled beside.
  await exec("npm", ["pack", "--ignore-scripts", "--pack-destination", project], { cwd: HERE, timeout: PATIENCE_MS });
  const modules = path.join(project, "node_modules");
  await mkdir(modules);
  await exec("tar", ["-xzf", "engram-client-0.1.0.tgz", "-C", modules], { cwd: project });
  await exec("mv", ["package", "engram-client"], { cwd: modules });
  for (const name of ["@bufbuild", "ws", "typescript", "@typescript", "@types", "undici-types"]) {
    await symlink(path.join(HERE, "node_modules", name), path.join(modules, name));
  }
  await cp(path.join(HERE, "examples"), path.join(project, "examples"), { recursive: true });
  await writeFile(path.join(project, "package.json"), '{ "type": "module" }');
}

async function run(file: string, ...args: string[]): Promise<string[]> {
  const options = { cwd: project, timeout: PATIENCE_MS };
  const { stdout, stderr } = await exec(process.execPath, ["--no-warnings", file, ...args], options);
  assert.equal(stderr, "");
  return stdout.trimEnd().split("\n");
}

async function example(name: string): Promise<string[]> {
  const file = path.join("examples", name);
  const lines = (await readFile(path.join(project, file), "utf8")).split("\n").length;
  assert.ok(lines <= EXAMPLE_LINES_MAX, `${name} has ${lines} lines`);
  return run(file, node);
}

test("observe, then recall", async () => {
  const observed = await example("observe.js");
  assert.match(observed[0] ?? "", /^observed as number 1 of the session, at log index \d+$/);
  assert.equal(observed[1], "1000 of 1000 acked, over 0 resumed connections");
  const recalled = await example("recall.js");
  assert.match(recalled[0] ?? "", /^node 1 answers at log index \d+:$/);
  assert.equal(recalled[1], "  0.9991  memory 639");
  assert.match(recalled[6] ?? "", new RegExp(`^${node}: 5 hits at \\d+$`));
  assert.equal(recalled[7], "in the kitchen: the kettle is on");
  assert.match(recalled[8] ?? "", /^committed at log index \d+: something new$/);
  assert.match(recalled[9] ?? "", /^now: something new; at log index \d+: memory 639$/);
});

test("agent_memory", async () => {
  assert.deepEqual(await example("agent_memory.js"), [
    "Where does my sister live? -> My sister lives in Lisbon",
    "Can I eat peanuts? -> I am allergic to peanuts",
    "What is my favourite colour? -> The user's favourite colour is blue",
    "said by the user: 4; by others: 1",
    "forgotten: 4; left: 1",
  ]);
});

test("the README's first steps", async () => {
  const text = await readFile(path.join(HERE, "README.md"), "utf8");
  const [, program] = /```js\n(import \{ connect[^]*?)```/.exec(text) ?? [];
  assert.ok(program !== undefined);
  await writeFile(path.join(project, "first.js"), program.replaceAll("127.0.0.1:7600", node));
  assert.deepEqual(await run("first.js"), ["1000 acked", "1.00 the kettle is on", "1001 rows"]);
});

test("the types of the installed package are those that strict programs need", async () => {
  const program = `
    import { connect, type EngramError, Refused, Unknown, type Hit, type Row, type Watcher } from "engram-client";
    export async function all(error: EngramError): Promise<Hit | Row | undefined> {
      const space = await connect("node:1").space("notes", 4, { options: { stage: "searchable" } });
      const watcher: Watcher = await space.watch({ afterLogIndex: 0 });
      for await (const { rows } of watcher) if (rows[0] !== undefined) return rows[0];
      if (error instanceof Refused) { const outcome: "refused" = error.outcome; void outcome; }
      if (error instanceof Unknown) { const places: readonly number[] = error.summary?.unknown ?? []; void places; }
      // @ts-expect-error There is no such option.
      await space.recall([1, 2, 3, 4], 3, { nothing: true });
      return (await space.recall(new Float32Array(4), 3)).hits[0];
    }`;
  await writeFile(path.join(project, "program.ts"), program);
  const strict = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noEmit"];
  const kind = ["--target", "es2022", "--module", "nodenext", "--types", "node"];
  const tsc = path.join(HERE, "node_modules/typescript/bin/tsc");
  await exec(process.execPath, [tsc, ...strict, ...kind, "program.ts"], { cwd: project, timeout: PATIENCE_MS }).catch(
    (error: { stdout?: string }) => assert.fail(error.stdout ?? String(error)),
  );
});

// The package: its protocol is the repository's, its names are those of the Python client, and its code says what it
// is.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { ErrorKind as WireKind } from "../src/gen/engram/v1/types_pb.js";
import * as engram from "../src/index.js";
import type { ErrorKind } from "../src/index.js";
import { HERE, ROOT } from "./cluster.js";

const exec = promisify(execFile);
const LINES_MAX = 400;
const COLUMNS_MAX = 120;

/** Every kind: a kind that is missing here, or is one too many, does not compile. */
const KINDS: Record<ErrorKind, true> = {
  UNSPECIFIED: true,
  INVALID: true,
  NOT_LEADER: true,
  OVERLOADED: true,
  SESSION_LOST: true,
  IN_DOUBT: true,
  POISONED: true,
  NOT_FOUND: true,
  EXISTS: true,
  SUPERSEDED: true,
  BEHIND: true,
  QUARANTINED: true,
  BELOW_FLOOR: true,
  UNSUPPORTED: true,
};

test("error kinds are those of the protocol", () => {
  const names = Object.values(WireKind).filter((name) => typeof name === "string");
  assert.deepEqual(Object.keys(KINDS).sort(), names.sort());
});

test("limits are the server's", async () => {
  const rust = await readFile(path.join(ROOT, "proto/src/limits.rs"), "utf8");
  for (const [name, value] of Object.entries(engram.limits)) {
    const [, text = ""] = new RegExp(`pub const ${name}: \\w+ = ([^;]+);`).exec(rust) ?? [];
    const product = text.split("*").reduce((all, factor) => all * Number(factor.trim().replaceAll("_", "")), 1);
    assert.equal(value, product, name);
  }
});

test("every public name of the Python client is here", async () => {
  const python = await readFile(path.join(ROOT, "clients/python/src/engram/__init__.py"), "utf8");
  const [, list = ""] = /__all__ = \[([^]*?)\]/.exec(python) ?? [];
  const theirs = [...list.matchAll(/"(\w+)"/g)].map(([, name = ""]) => name).filter((name) => name !== "aio");
  assert.ok(theirs.length > 20);
  const ours = await readFile(path.join(HERE, "src/index.ts"), "utf8");
  const names = new Set(ours.replace(/^\/\*\*[^]*?\*\//, "").match(/\w+/g));
  const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const missing = theirs.filter((name) => !names.has(camel(name)));
  assert.deepEqual(missing, []);
});

test("the generated code is that of the .proto files as they are", async () => {
  const fresh = await mkdtemp(path.join(os.tmpdir(), "engram-typescript-gen-"));
  try {
    await exec("npm", ["run", "generate", "--", "--output", fresh], { cwd: HERE });
    const [built, made] = [path.join(HERE, "src/gen/engram/v1"), path.join(fresh, "src/gen/engram/v1")];
    const names = await readdir(made);
    assert.deepEqual(names.sort(), ["cluster_pb.ts", "memory_pb.ts", "rows_pb.ts", "spaces_pb.ts", "types_pb.ts"]);
    for (const name of names) {
      assert.equal(await readFile(path.join(built, name), "utf8"), await readFile(path.join(made, name), "utf8"));
    }
  } finally {
    await rm(fresh, { recursive: true });
  }
});

test("files have a header and stay short", async () => {
  for (const folder of ["src", "tests", "tests/browser", "examples"]) {
    for (const name of await readdir(path.join(HERE, folder))) {
      if (!/\.(ts|js)$/.test(name)) continue;
      const lines = (await readFile(path.join(HERE, folder, name), "utf8")).split("\n");
      assert.match(lines[0] ?? "", /^\/[/*]/, `${name} says nothing of itself`);
      assert.ok(lines.length <= LINES_MAX, `${name} has ${lines.length} lines`);
      for (const [at, line] of lines.entries()) {
        assert.ok(line.length <= COLUMNS_MAX, `${folder}/${name}:${at + 1} has ${line.length} columns`);
      }
    }
  }
});

test("the package holds what runs, and no more", async () => {
  const { stdout } = await exec("npm", ["pack", "--ignore-scripts", "--dry-run", "--json"], { cwd: HERE });
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const strange = files.filter(({ path: file }) => !/^(dist\/.*\.(js|d\.ts)|README\.md|package\.json)$/.test(file));
  assert.deepEqual(strange, []);
  assert.ok(files.some(({ path: file }) => file === "dist/index.d.ts"));
});

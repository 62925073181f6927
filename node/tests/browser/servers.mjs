// What stands around the page: its files by HTTP, and a relay to the node that breaks connections on demand.

import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import path from "node:path";

const HOST = "127.0.0.1";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".proto": "text/plain" };

/** Listens on a free port: the address. */
export async function listen(server, port = 0) {
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, HOST, resolve));
  return `${HOST}:${server.address().port}`;
}

/** An address that was free a moment ago. */
export async function freeAddress() {
  const server = net.createServer();
  const address = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return address;
}

/** The files below `folders`, by the beginning of their paths, and what `posts` do with what is posted to them. */
export function pages(folders, posts, config) {
  const answer = async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    if (request.method === "POST" && posts[pathname]) {
      let body = "";
      for await (const part of request) body += part;
      posts[pathname](body);
      return response.writeHead(204).end();
    }
    if (pathname === "/config") return response.end(JSON.stringify(config()));
    const name = pathname === "/" ? "/index.html" : pathname;
    const [prefix, folder] = Object.entries(folders).find(([prefix]) => name.startsWith(prefix));
    const file = path.join(folder, path.normalize(`/${name.slice(prefix.length)}`));
    response.setHeader("content-type", TYPES[path.extname(file)] ?? "application/octet-stream");
    response.end(await readFile(file));
  };
  return http.createServer((request, response) => {
    answer(request, response).catch((error) => response.writeHead(404).end(String(error)));
  });
}

/** Passes bytes on to a node; `breakAfter(bytes)` lets so many more through from the clients, then breaks. */
export class Relay {
  #left = Infinity;

  constructor(to) {
    const [host, port] = to.split(":");
    this.server = net.createServer((client) => {
      const node = net.connect(Number(port), host);
      // What was let through arrives; the client hears nothing of it.
      const end = () => (client.destroy(), node.unpipe(client).resume().end());
      client.on("data", (bytes) => {
        const passed = bytes.subarray(0, Math.min(bytes.length, this.#left));
        this.#left -= passed.length;
        const room = node.write(passed);
        if (this.#left === 0) {
          this.#left = Infinity;
          end();
        } else if (!room) {
          client.pause();
          node.once("drain", () => client.resume());
        }
      });
      node.pipe(client);
      for (const side of [client, node]) side.on("error", end).on("close", end);
    });
  }

  breakAfter(bytes) {
    this.#left = bytes;
  }
}

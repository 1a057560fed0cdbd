import { existsSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { loadCaptureAddon } from "../../../src/capture/addon.ts";
import { MeshError } from "../../../src/lib/errors.ts";
import { descriptorOf } from "../../../src/node/cni/peer.ts";
import type { CniRequest } from "../../../src/node/cni/protocol.ts";
import { CniServer, type CniServerDeps } from "../../../src/node/cni/server.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { prevResult, runPlugin } from "./support.ts";

let path: string;
beforeEach(async () => {
  path = join(await temporaryFolder(), "run", "cni.sock");
});

const credentials = (socket: Socket) => {
  const fd = descriptorOf(socket);
  return fd === undefined ? undefined : loadCaptureAddon().peerCredentials(fd);
};

async function serving(answer: CniServerDeps["answer"], over: Partial<CniServerDeps> = {}) {
  const told: string[] = [];
  const tell = (fields: object, message: string) => void told.push(`${message} ${JSON.stringify(fields)}`);
  const log = { debug: tell, info: tell, warn: tell };
  const server = new CniServer({ answer, credentials, log, ...over }, { path, uid: process.getuid?.() ?? 0 });
  await server.start();
  onTestFinished(() => server.stop());
  return { server, told };
}

const config = () => ({
  cniVersion: "1.0.0",
  name: "lab",
  type: "warren-cni",
  socket: path,
  timeoutMs: 30_000,
  prevResult,
});

/** What comes back for these bytes until the connection ends. */
function said(bytes: string): Promise<string> {
  const socket = connect(path);
  onTestFinished(() => void socket.destroy());
  let text = "";
  socket.setEncoding("utf8").on("data", (part: string) => (text += part));
  socket.on("error", () => {}).write(bytes);
  return new Promise((resolve) => socket.once("close", () => resolve(text)));
}

describe("the agent's door for the plugin", () => {
  it("is open for its own user alone", async () => {
    await serving(async () => {});
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
  });

  it("answers the real plugin, and hears all that the runtime told it", async () => {
    const asked: CniRequest[] = [];
    await serving(async (request) => void asked.push(request));
    expect(await runPlugin("ADD", config())).toMatchObject({ code: 0, json: prevResult });
    expect(await runPlugin("DEL", config())).toMatchObject({ code: 0 });
    expect(asked).toMatchObject([
      { command: "add", container: "c1", pod: { uid: "uid-web-0" }, addresses: ["10.244.1.5", "fd00::5"] },
      { command: "del", container: "c1" },
    ]);
  });

  it("tells a refusal with its code, and whether the agent only does not know yet", async () => {
    const failures = [
      new MeshError("MESH_WRONG_NETNS", "it holds other addresses"),
      new MeshError("MESH_CNI_POD_UNKNOWN", "not heard of"),
      new TypeError("a slip"),
    ];
    await serving(() => Promise.reject(failures.shift() ?? new Error("no more")));
    const codes = [100, 11, 100];
    for (const [index, text] of ["it holds other addresses", "not heard of", "a slip"].entries()) {
      expect((await runPlugin("ADD", config())).json).toMatchObject({ code: codes[index], msg: `warren-cni: ${text}` });
    }
  });

  it("turns strangers away without a word", async () => {
    const { told } = await serving(async () => {}, { credentials: () => ({ pid: 7, uid: 4711, gid: 4711 }) });
    expect(await said("{}\n")).toBe("");
    expect(told.join()).toMatch(/a stranger asked.*4711/);
  });

  it.each([
    ["no JSON", "hello\n", /is not valid JSON/],
    ["a version that is not known", '{"version":2}\n', /version/],
    ["an unknown command", '{"version":1,"command":"eat"}\n', /command/],
    [
      "an address that is none",
      '{"version":1,"command":"add","container":"","netns":"","interface":"","pod":{"uid":"","name":"","namespace":""},"addresses":["nonsense"]}\n',
      /is not an IP address/,
    ],
    ["a line without end", "x".repeat(100_000), /does not end/],
  ])("answers %s with what is wrong about it", async (_, bytes, expected) => {
    const { told } = await serving(async () => {});
    expect(JSON.parse(await said(bytes))).toMatchObject({
      ok: false,
      message: expect.stringMatching(expected) as string,
    });
    expect(told.join()).toMatch(/cannot be read/);
  });

  it("goes on when it cannot find out who asks", async () => {
    const known = [() => undefined, () => undefined];
    const { told } = await serving(async () => {}, {
      credentials: (socket) => {
        if (known.pop() !== undefined) throw new Error("getsockopt: bad file descriptor");
        return credentials(socket);
      },
    });
    expect(await Promise.all([said("{}\n"), said("{}\n")])).toEqual(["", ""]);
    expect(told.join()).toMatch(/cannot be answered: getsockopt/);
    expect(await runPlugin("ADD", config())).toMatchObject({ code: 0 });
  });

  it("gives up what it does for a plugin that is gone", async () => {
    const aborted = Promise.withResolvers<unknown>();
    const asked = Promise.withResolvers<void>();
    await serving((_request, signal) => {
      asked.resolve();
      const { promise, reject } = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => {
        aborted.resolve(signal.reason);
        reject(signal.reason as Error);
      });
      return promise;
    });
    const running = runPlugin("ADD", { ...config(), timeoutMs: 1500 });
    await asked.promise;
    expect((await running).json).toMatchObject({ code: 11 });
    expect(await aborted.promise).toMatchObject({ code: "MESH_CNI_GAVE_UP" });
  });

  it("tells those who wait that it stops, and leaves its successor's socket alone", async () => {
    const asked = Promise.withResolvers<void>();
    const first = await serving((_request, signal) => {
      asked.resolve();
      const { promise, reject } = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => reject(signal.reason as Error));
      return promise;
    });
    const waiting = runPlugin("ADD", config());
    await asked.promise;
    const second = await serving(async () => {});
    expect(await runPlugin("ADD", config())).toMatchObject({ code: 0 });
    await first.server.stop();
    await first.server.stop();
    expect((await waiting).json).toMatchObject({ code: 11, msg: "warren-cni: the agent is stopping" });
    expect(await runPlugin("ADD", config())).toMatchObject({ code: 0 });
    await second.server.stop();
    expect(existsSync(path)).toBe(false);
  });

  it("says so when it cannot listen", async () => {
    const server = new CniServer(
      { answer: async () => {}, credentials, log: { debug() {}, info() {}, warn() {} } },
      { path: join(import.meta.filename, "cni.sock"), uid: 0 },
    );
    await expect(server.start()).rejects.toMatchObject({ code: "MESH_CNI_LISTEN" });
    await server.stop();
  });
});

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { pluginProgram, prevResult, runPlugin, scriptedAgent } from "./support.ts";

let socket: string;
beforeEach(async () => {
  socket = join(await temporaryFolder(), "agent.sock");
});

function config(over: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { cniVersion: "1.0.0", name: "lab", type: "warren-cni", socket, timeoutMs: 30_000, prevResult, ...over };
}

const granted = '{"ok":true}\n';

describe("the plugin's program", () => {
  it("needs no library of the node", () => {
    expect(() => execFileSync("ldd", [pluginProgram], { stdio: "pipe" })).toThrow(/not a dynamic executable/);
  });

  it("says which versions of the specification it speaks", async () => {
    const { code, json } = await runPlugin("VERSION", "");
    expect(code).toBe(0);
    expect(json).toEqual({ cniVersion: "1.1.0", supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] });
  });
});

describe("ADD", () => {
  it("tells the agent of the sandbox and prints what the plugins before it made, as it came", async () => {
    const asked: unknown[] = [];
    await scriptedAgent(socket, (connection, line) => {
      asked.push(JSON.parse(line));
      connection.end(granted);
    });
    const { code, json, stderr } = await runPlugin("ADD", config());
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(json).toEqual(prevResult);
    expect(asked).toEqual([
      {
        version: 1,
        command: "add",
        container: "c1",
        netns: "/run/netns/a",
        interface: "eth0",
        pod: { uid: "uid-web-0", name: "web-0", namespace: "shop" },
        addresses: ["10.244.1.5", "fd00::5"],
      },
    ]);
  });

  it("hands the agent's refusal on, to be read in the pod's event", async () => {
    const refusal = {
      ok: false,
      away: false,
      message: "the netns is another pod's",
      details: "MESH_WRONG_NETNS; look there",
    };
    await scriptedAgent(socket, (connection) => connection.end(`${JSON.stringify(refusal)}\n`));
    const { code, json } = await runPlugin("ADD", config());
    expect(code).toBe(1);
    expect(json).toEqual({
      cniVersion: "1.0.0",
      code: 100,
      msg: "warren-cni: the netns is another pod's",
      details: "MESH_WRONG_NETNS; look there",
    });
    // An agent that knows better is not overruled by failOpen.
    expect((await runPlugin("ADD", config({ failOpen: true }))).json).toMatchObject({ code: 100 });
  });

  const nobody = /does not answer, so pod shop\/web-0 is not started outside of the mesh/;
  const cases: readonly (readonly [string, RegExp, RegExp, () => unknown])[] = [
    [
      "is not there",
      nobody,
      /cannot reach the agent at .*: No such file or directory; look at the warren-node pod/,
      () => {},
    ],
    [
      "left its socket behind",
      nobody,
      /Connection refused/,
      async () => {
        const server = await scriptedAgent(`${socket}.old`, () => {});
        execFileSync("mv", [`${socket}.old`, socket]);
        await new Promise((resolve) => server.close(resolve));
      },
    ],
    ["is slow", nobody, /did not answer within 300 ms/, () => scriptedAgent(socket, () => {})],
    ["hangs up", nobody, /ended the connection without an answer/, () => scriptedAgent(socket, (peer) => peer.end())],
    [
      "stops in the middle of its answer",
      nobody,
      /without an answer/,
      () => scriptedAgent(socket, (peer) => peer.end('{"ok":tr')),
    ],
    [
      "does not stop talking",
      nobody,
      /is not the agent/,
      () => scriptedAgent(socket, (peer) => peer.write("x".repeat(200_000))),
    ],
    [
      "is something else",
      /gives no sensible answer, so pod shop\/web-0/,
      /something else/,
      () => scriptedAgent(socket, (peer) => peer.end("HTTP/1.1 400 Bad Request\n")),
    ],
    [
      "answers with another shape",
      /gives no sensible answer/,
      /something else/,
      () => scriptedAgent(socket, (peer) => peer.end('{"ok":"yes"}\n')),
    ],
    ["is no socket", nobody, /cannot reach the agent/, () => writeFileSync(socket, "")],
    [
      "does not know yet",
      /the mesh has not said/,
      /MESH_CNI_POD_UNKNOWN/,
      () =>
        scriptedAgent(socket, (peer) =>
          peer.end('{"ok":false,"away":true,"message":"the mesh has not said","details":"MESH_CNI_POD_UNKNOWN"}\n'),
        ),
    ],
  ];

  it.each(cases)(
    "lets the pod wait when the agent %s, and start where pods may",
    async (why, msg, details, arrange) => {
      await arrange();
      const timeoutMs = why === "is slow" ? 300 : 30_000;
      const { code, json } = await runPlugin("ADD", config({ timeoutMs }));
      expect(code).toBe(1);
      expect(json).toEqual({
        cniVersion: "1.0.0",
        code: 11,
        msg: expect.stringMatching(msg) as string,
        details: expect.stringMatching(details) as string,
      });
      const open = await runPlugin("ADD", config({ timeoutMs, failOpen: true }));
      expect(open).toMatchObject({ code: 0, json: prevResult });
    },
  );

  it("does not ask about namespaces that must start before the mesh, nor about what no kubelet started", async () => {
    const excluded = config({ excludeNamespaces: ["kube-system", "shop"] });
    expect(await runPlugin("ADD", excluded)).toMatchObject({ code: 0, json: prevResult });
    const withoutPod = await runPlugin("ADD", config(), { CNI_ARGS: undefined });
    expect(withoutPod).toMatchObject({ code: 0, json: prevResult });
  });

  const fixed = { cniVersion: "1.0.0", socket: "/nowhere", prevResult };
  it.each([
    ["no command", { CNI_COMMAND: undefined }, fixed, 4, /CNI_COMMAND is not set/],
    ["an unknown command", { CNI_COMMAND: "EAT" }, fixed, 4, /CNI_COMMAND EAT is unknown/],
    ["no netns", { CNI_NETNS: undefined }, fixed, 4, /CNI_NETNS is not set/],
    ["no container", { CNI_CONTAINERID: "" }, fixed, 4, /CNI_CONTAINERID is not set/],
    ["no configuration", {}, "", 6, /no JSON object/],
    ["a configuration that is cut off", {}, '{"cniVersion": "1.0.0", ', 6, /no JSON object/],
    ["deep nesting", {}, "[".repeat(100_000), 6, /no JSON object/],
    ["no socket", {}, { cniVersion: "1.0.0", prevResult }, 7, /socket in its network configuration is missing/],
    ["a socket that is a number", {}, { cniVersion: "1.0.0", socket: 5 }, 7, /socket/],
    [
      "a path that is too long",
      {},
      { cniVersion: "1.0.0", socket: `/${"x".repeat(200)}` },
      7,
      /no path of a unix socket/,
    ],
    ["no version", {}, { socket: "/a" }, 7, /cniVersion/],
    ["a timeout below nothing", {}, { cniVersion: "1.0.0", socket: "/a", timeoutMs: -1 }, 7, /timeoutMs/],
    [
      "excluded names that are none",
      {},
      { cniVersion: "1.0.0", socket: "/a", excludeNamespaces: [1] },
      7,
      /excludeNam/,
    ],
    ["nothing before it", {}, { cniVersion: "1.0.0", socket: "/a" }, 7, /there is no prevResult/],
  ])("refuses %s with the specification's code", async (_, environment, input, expected, msg) => {
    const { code, json } = await runPlugin("ADD", input, environment);
    expect(code).toBe(1);
    expect(json).toMatchObject({ code: expected, msg: expect.stringMatching(msg) as string });
  });
});

describe("DEL", () => {
  it("tells the agent, and succeeds whatever it says or whether it is there", async () => {
    expect(await runPlugin("DEL", config({ prevResult: undefined }), { CNI_NETNS: undefined })).toMatchObject({
      code: 0,
      stdout: "",
    });
    const asked: string[] = [];
    await scriptedAgent(socket, (connection, line) => {
      asked.push(line);
      connection.end('{"ok":false,"away":false,"message":"no"}\n');
    });
    expect(await runPlugin("DEL", config())).toMatchObject({ code: 0, stdout: "" });
    expect(asked.map((line) => JSON.parse(line) as unknown)).toMatchObject([{ command: "del", container: "c1" }]);
  });
});

describe("CHECK, STATUS and GC", () => {
  it("asks whether a pod is captured, and says nothing when it is", async () => {
    await scriptedAgent(socket, (connection, line) =>
      connection.end(line.includes('"check"') ? granted : '{"ok":false,"away":true,"message":"not ready"}\n'),
    );
    expect(await runPlugin("CHECK", config())).toMatchObject({ code: 0, stdout: "" });
    const { code, json } = await runPlugin("STATUS", config({ cniVersion: "1.1.0" }), { CNI_ARGS: undefined });
    expect({ code, json }).toMatchObject({ code: 1, json: { code: 50, msg: "warren-cni: not ready" } });
  });

  it("is not available while the agent is away, unless pods may start without it", async () => {
    expect((await runPlugin("STATUS", config())).json).toMatchObject({
      code: 50,
      msg: expect.stringContaining("no pod can be started on this node") as string,
    });
    expect(await runPlugin("STATUS", config({ failOpen: true }))).toMatchObject({ code: 0, stdout: "" });
    expect((await runPlugin("CHECK", config())).json).toMatchObject({ code: 11 });
    expect(await runPlugin("GC", config({ "cni.dev/valid-attachments": [] }))).toMatchObject({ code: 0, stdout: "" });
  });
});

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import { createDiscoverySource, type DiscoverySource } from "../../../src/xds/client/discovery-source.ts";
import { encodeLocalPod } from "../../../src/xds/resources/local-pod.ts";
import { encodeAuthorizationPolicy } from "../../../src/xds/resources/policy.ts";
import { encodeService } from "../../../src/xds/resources/service.ts";
import { encodeSettings } from "../../../src/xds/resources/settings.ts";
import { encodeWorkload } from "../../../src/xds/resources/workload.ts";
import { authorizationPolicy, localPod, service, settings, workload } from "../../mesh/build.ts";
import { podManifest, startControlPlane } from "../../support/control-plane.ts";
import { servingFiles } from "../../support/serving-files.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { ScriptedServer } from "./scripted-server.ts";

interface Stage {
  readonly server: ScriptedServer;
  readonly port: number;
  readonly folder: string;
  readonly files: { certificate: string; key: string; root: string };
  make(): DiscoverySource;
}

async function stage(): Promise<Stage> {
  const folder = await temporaryFolder();
  const files = await servingFiles(folder);
  await writeFile(join(folder, "token"), "secret\n");
  const server = new ScriptedServer();
  const port = await server.start(files);
  const make = () => {
    const source = createDiscoverySource(
      { clock: systemClock, random: () => 0.5 },
      {
        address: `127.0.0.1:${port}`,
        rootFile: files.root,
        tokenFile: join(folder, "token"),
        serverName: "",
        node: "n1",
        settings,
        stateFile: join(folder, "state"),
      },
    );
    onTestFinished(() => source.stop());
    return source;
  };
  return { server, port, folder, files, make };
}

const web = workload("web", "10.0.0.1");
const own = { ...settings, trustDomain: "cluster.local", cluster: "elsewhere" };
const entry = service("shop", ["10.96.0.1"], { 80: [] }).service;
const key = "shop/shop.shop.svc.cluster.local";
const behind = new Map([[key, [{ port: 80, targetPort: 8080, address: "10.0.0.1", weight: 1 }]]]);
const signal = () => AbortSignal.timeout(30_000);

/** The least that completes a state. */
function sendAll(server: ScriptedServer): void {
  server.send("settings", [encodeSettings(own)]);
  server.send("policy", [encodeAuthorizationPolicy(authorizationPolicy("ALLOW", []))]);
  server.send("address", [encodeWorkload(web, behind), encodeService(entry)]);
  server.send("localPod", [encodeLocalPod(localPod(web))]);
}

async function started(given?: Stage): Promise<Stage & { source: DiscoverySource }> {
  const all = given ?? (await stage());
  const source = all.make();
  const start = source.start(signal());
  await all.server.asked(1);
  sendAll(all.server);
  await start;
  return { ...all, source };
}

describe("a source of discovery", () => {
  it("has started when every type was heard of to its end", async () => {
    const all = await stage();
    const source = all.make();
    let up = false;
    const start = source.start(signal()).then(() => {
      up = true;
    });
    await all.server.asked(1);
    all.server.send("settings", [encodeSettings(own)]);
    all.server.send("policy", []);
    all.server.send("localPod", []);
    all.server.send("address", [encodeWorkload(web, behind)], { more: true, nonce: "part" });
    await all.server.answer("part");
    expect(up).toBe(false);
    all.server.send("address", [encodeService(entry)]);
    await start;
    expect(source.view.settings.cluster).toBe("elsewhere");
    expect(source.view.workload(web.uid)).toEqual(web);
    expect(source.view.endpoints(entry, 80)).toMatchObject([{ workload: web.uid, targetPort: 8080 }]);
  });

  it("puts workloads and a Service together whichever comes first, in one change", async () => {
    const { source, server } = await started();
    const changes: number[] = [];
    source.onChange((change) => changes.push(change.workloads.size + change.services.size));
    const late = service("late", [], { 90: [] }).service;
    const lateKey = "shop/late.shop.svc.cluster.local";
    const db = workload("db", "10.0.0.2");
    const memberships = new Map([[lateKey, [{ port: 90, targetPort: 9090, address: "10.0.0.2", weight: 1 }]]]);
    server.send("address", [encodeWorkload(db, memberships)], { nonce: "first" });
    await server.answer("first");
    expect(source.view.endpoints(late, 90)).toEqual([]);
    server.send("address", [encodeService(late)], { nonce: "second" });
    await server.answer("second");
    expect(source.view.endpoints(late, 90)).toMatchObject([{ workload: db.uid, targetPort: 9090 }]);
    server.send("address", [], { removed: [db.uid, lateKey], nonce: "third" });
    await server.answer("third");
    expect(source.view.serviceByHostname("shop", late.hostname)).toBeUndefined();
    server.send("address", [encodeService(late), encodeWorkload(db, memberships)], { nonce: "fourth" });
    await server.answer("fourth");
    expect(source.view.endpoints(late, 90)?.length).toBe(1);
    expect(changes).toEqual([1, 1, 2, 2]);
  });

  it("rejects a bad resource alone, keeps its last good version, says so, and asks for it again", async () => {
    const { source, server } = await started();
    const bad = { name: web.uid, bytes: Buffer.from("nonsense"), version: "2" };
    const db = workload("db", "10.0.0.2");
    server.send("address", [bad, encodeWorkload(db)], { nonce: "mixed" });
    const answer = await server.answer("mixed");
    expect(answer.errorDetail?.message).toContain(web.uid);
    expect(source.view.workload(web.uid)).toEqual(web);
    expect(source.view.workload(db.uid)).toEqual(db);
    expect(source.problems()).toMatchObject([{ object: `address ${web.uid}` }]);
    server.end();
    await server.asked(2);
    const versions = server.requests.find(({ typeUrl }) => typeUrl.endsWith("Address"))?.initialResourceVersions;
    expect(Object.keys(versions ?? {}).sort()).toEqual([db.uid, key].sort());
    server.send("address", [encodeWorkload({ ...web, node: "n2" })], { nonce: "good" });
    expect((await server.answer("good")).errorDetail).toBeUndefined();
    expect(source.view.workload(web.uid)?.node).toBe("n2");
    await expect.poll(() => source.problems()).toEqual([]);
  });

  it("lets a policy that it cannot read refuse, until it can", async () => {
    const { source, server } = await started();
    const name = "AuthorizationPolicy/shop/new";
    server.send("policy", [{ name, bytes: Buffer.from("nonsense") }], { nonce: "bad" });
    expect((await server.answer("bad")).errorDetail).toBeDefined();
    const request = { peer: web.identity, sourceAddress: "10.0.0.9", destination: { address: "10.0.0.1", port: 80 } };
    expect(source.view.authorize(web, request)).toMatchObject({ outcome: "deny", reason: "policy-unevaluable" });
    const good = encodeAuthorizationPolicy(authorizationPolicy("ALLOW", [{}], { name: "new" }));
    server.send("policy", [good], { nonce: "good" });
    await server.answer("good");
    expect(source.view.authorize(web, request).outcome).toBe("allow");
  });

  it("takes the last of duplicates, and what comes again after it went", async () => {
    const { source, server } = await started();
    const moved = encodeWorkload({ ...web, node: "n9" });
    server.send("address", [encodeWorkload(web), moved], { nonce: "twice" });
    await server.answer("twice");
    expect(source.view.workload(web.uid)?.node).toBe("n9");
    server.send("address", [], { removed: [web.uid], nonce: "gone" });
    await server.answer("gone");
    expect(source.view.workloadByAddress("10.0.0.1")).toBeUndefined();
    server.send("address", [encodeWorkload(web, behind)], { nonce: "back" });
    await server.answer("back");
    expect(source.view.workloadByAddress("10.0.0.1")).toEqual(web);
    expect(source.view.endpoints(entry, 80)?.length).toBe(1);
    server.send("address", [encodeWorkload(web, behind)], { removed: [web.uid], nonce: "both" });
    await server.answer("both");
    expect(source.view.workload(web.uid)).toEqual(web);
  });

  it("answers each response with its own nonce, whatever order the types come in", async () => {
    const { server } = await started();
    for (const [type, nonce] of [
      ["localPod", "z"],
      ["address", "a"],
      ["settings", "m"],
    ] as const) {
      server.send(type, [], { nonce });
    }
    const answers = await Promise.all(["z", "a", "m"].map((nonce) => server.answer(nonce)));
    expect(answers.map(({ typeUrl }) => typeUrl.split(".").at(-1))).toEqual(["LocalPod", "Address", "Settings"]);
  });

  it("loses nothing when streams break, end well, or say what is no message", async () => {
    const { source, server } = await started();
    const { epoch } = source.view;
    server.end();
    await server.asked(2);
    server.end(status.OK);
    await server.asked(3);
    server.raw(Buffer.from([0x0a, 0xff, 0xff]));
    await server.asked(4);
    server.raw(Buffer.from([0x22, 1, 120]));
    await server.asked(5);
    expect(source.view.epoch).toBe(epoch);
    expect(source.problems()[0]?.message).toMatch(/was not asked for/);
    server.send("address", [], { nonce: "well" });
    await server.answer("well");
    await expect.poll(() => source.problems()).toEqual([]);
  });

  it("starts on its last good state while control is away, and sends only what it lacks when it is back", async () => {
    const all = await started();
    const path = join(all.folder, "state");
    await expect.poll(() => readFile(path).catch(() => undefined), { timeout: 30_000 }).toBeDefined();
    await all.source.stop();
    all.server.stop();
    const second = all.make();
    await second.start(signal());
    expect(second.view.workload(web.uid)).toEqual(web);
    expect(second.view.endpoints(entry, 80)).toMatchObject([{ workload: web.uid }]);
    expect([...second.view.localPods("n1")]).toEqual([localPod(web)]);
    expect([...second.view.authorizationPolicies()]).toEqual([authorizationPolicy("ALLOW", [])]);
    expect(second.view.settings).toEqual(own);
    expect(
      second
        .problems()
        .map(({ message }) => message)
        .join(),
    ).toMatch(/running on the state of/);
    const again = new ScriptedServer();
    await again.start(all.files, all.port);
    await again.asked(1);
    const versions = again.requests.map(({ initialResourceVersions }) => Object.keys(initialResourceVersions).length);
    expect(versions.reduce((sum, count) => sum + count, 0)).toBe(5);
  });

  it.each([
    ["damaged", (file: Buffer) => file.fill(1, file.length - 8), /damaged/],
    ["cut short", (file: Buffer) => file.subarray(0, file.length - 10), /damaged/],
    [
      "another node's",
      (file: Buffer) => Buffer.from(file.toString("latin1").replace('"n1"', '"n2"'), "latin1"),
      /of node n2/,
    ],
    ["no such file at all", () => Buffer.from("hello"), /does not begin/],
  ])("does not believe a state that is %s", async (_what, spoil, message) => {
    const all = await started();
    const path = join(all.folder, "state");
    await expect.poll(() => readFile(path).catch(() => undefined), { timeout: 30_000 }).toBeDefined();
    await all.source.stop();
    await writeFile(path, spoil(await readFile(path)));
    const second = all.make();
    const start = second.start(signal());
    await expect
      .poll(() =>
        second
          .problems()
          .map((problem) => problem.message)
          .join(),
      )
      .toMatch(message);
    expect([...second.view.workloads()]).toEqual([]);
    await all.server.asked(2);
    sendAll(all.server);
    await start;
    expect(second.problems()).toEqual([]);
  });

  it("gives up a start when told to, and can be stopped twice", async () => {
    const all = await stage();
    const source = all.make();
    const stop = new AbortController();
    const start = source.start(stop.signal);
    stop.abort(new Error("enough"));
    await expect(start).rejects.toThrow("enough");
    await source.stop();
    await source.stop();
  });

  it("takes ten thousand workloads in one push without stopping the event loop", async () => {
    const { source, server } = await started();
    const many = Array.from({ length: 10_000 }, (_, index) =>
      encodeWorkload(
        workload(`w${index}`, `10.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`),
        new Map([[`shop/s${index % 500}.svc`, [{ port: 80, targetPort: 80, address: "10.0.0.1", weight: 1 }]]]),
      ),
    );
    let turns = 0;
    server.send("address", many, { nonce: "huge" });
    const counting = setInterval(() => turns++, 1);
    await server.answer("huge");
    clearInterval(counting);
    expect([...source.view.workloads()].length).toBe(10_001);
    // In counts, not times: the loop turned many times while the push was put in force.
    expect(turns).toBeGreaterThan(10);
  }, 120_000);
});

it("has the mesh that the control plane has, through every change", async () => {
  const objects = [...podManifest("web", "w1"), ...podManifest("db", "w2", { address: "10.0.0.2" })];
  const plane = await startControlPlane([], objects);
  const { address, rootFile, tokenFile = "", serverName } = plane.clientOptions("w1");
  const source = createDiscoverySource(
    { clock: systemClock, random: Math.random },
    { address, rootFile, tokenFile, serverName, node: "w1", settings: own, stateFile: undefined },
  );
  onTestFinished(() => source.stop());
  await source.start(signal());
  expect([...source.view.workloads()].map(({ name }) => name).sort()).toEqual(["db", "web"]);
  expect([...source.view.localPods("w1")].map(({ name }) => name)).toEqual(["web"]);
  expect([...source.view.localPods("w2")]).toEqual([]);
  expect(source.view.settings.cluster).toBe("Kubernetes");
  const strict = {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name: "strict", namespace: "production" },
    spec: { mtls: { mode: "STRICT" } },
  };
  await plane.apply(...podManifest("web", "w1"), strict);
  await expect.poll(() => [...source.view.workloads()].map(({ name }) => name)).toEqual(["web"]);
  await expect.poll(() => [...source.view.peerAuthentications()].map(({ mode }) => mode)).toEqual(["STRICT"]);
  await plane.apply();
  await expect.poll(() => [...source.view.localPods("w1")]).toEqual([]);
});

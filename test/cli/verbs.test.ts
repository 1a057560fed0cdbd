/** The verbs as a person runs them, on a folder of manifests: exit codes, lines, and documents for programs. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const example = (name: string) => fileURLToPath(new URL(`../../examples/policies/${name}`, import.meta.url));

const cluster = `
apiVersion: v1
kind: Namespace
metadata: {name: production, labels: {warren.dev/mode: ambient}}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: production, labels: {app: api}}
spec: {serviceAccountName: api, nodeName: n1, containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: frontend, namespace: production, labels: {app: frontend}}
spec: {serviceAccountName: frontend, nodeName: n1, containers: [{name: a}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: production}
spec: {selector: {app: api}, clusterIP: 10.9.0.1, ports: [{port: 80, targetPort: http}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: api-authz, namespace: production}
spec:
  selector: {matchLabels: {app: api}}
  rules:
  - from: [{source: {principals: ["cluster.local/ns/production/sa/frontend"]}}]
    to: [{operation: {methods: ["GET"]}}]
`;

const wrong = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: wrong, namespace: production}
spec:
  selector: {matchLabels: {app: nobody}}
  action: DENY
  rules:
  - from:
    - source:
        ipBlocks: ["10.0.0.0/99"]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ports, namespace: production}
spec:
  portLevelMtls:
    8080: {mode: STRICT}
`;

let root: string;
let folder: string;
let wrongFile: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "warren-cli-"));
  folder = join(root, "cluster");
  mkdirSync(folder);
  writeFileSync(join(folder, "all.yaml"), cluster);
  wrongFile = join(root, "wrong.yaml");
  writeFileSync(wrongFile, wrong);
});
afterAll(() => rmSync(root, { recursive: true }));

async function warren(args: readonly string[], input = "", env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, CI: "true", WARREN_LAB_STATE: join(folder, "no-lab"), ...env },
    stdio: "pipe",
  });
  child.stdin.end(input);
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await ended, stdout, stderr };
}

const from = ["authz", "explain", "--from", "production/frontend", "-n", "production", "--to", "api:8080"];

describe("warren authz explain", () => {
  test.each([
    [["--method", "GET"], 0, /^ALLOW {2}production\/frontend -> production\/api:8080 {2}GET \/\n.*rule 0 matches/],
    [["--method", "POST"], 1, /^DENY .*POST \/\n {2}because +production\/api-authz: no ALLOW rule matches/],
    [[], 1, /^DEPENDS .*\n {2}because +each request on the connection is judged/],
  ])("with %j exits %d", async (flags, code, expected) => {
    const result = await warren([...from, "--manifests", folder, ...flags]);
    expect(result).toEqual({ code, stdout: expect.stringMatching(expected) as string, stderr: "" });
  });

  test("prints no colours into a pipe", async () => {
    const { stdout } = await warren([...from, "--manifests", folder]);
    expect(stdout).not.toContain("\u001b");
  });

  test.each(["json", "yaml"] as const)("-o %s is a versioned document", async (format) => {
    const { code, stdout } = await warren([...from, "--manifests", folder, "--method", "POST", "-o", format]);
    expect(code).toBe(1);
    expect(format === "json" ? JSON.parse(stdout) : parse(stdout)).toMatchObject({
      schema: "warren.authz-explain/v1",
      allowed: false,
      answers: [{ outcome: "deny", reason: "policy-denied", pods: ["production/api"] }],
    });
  });

  test("an unknown workload is a usage error that tells which there are", async () => {
    const result = await warren(["authz", "explain", "--from", "a/b", "--to", "x.production:1", "--manifests", folder]);
    expect(result).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("api, frontend") as string });
  });

  test.each([[["--manifests", "/nowhere"]], [[]]])("without a cluster to read (%j) it exits 3", async (flags) => {
    const result = await warren([...from, ...flags]);
    expect(result).toMatchObject({ code: 3, stdout: "" });
    expect(result.stderr).toMatch(/MESH_UNREACHABLE/);
  });

  test("a missing flag is a usage error", async () => {
    expect(await warren(["authz", "explain"])).toMatchObject({ code: 2 });
  });
});

describe("warren describe", () => {
  test("tells enrolment, identity, ports and policies", async () => {
    const { code, stdout } = await warren(["describe", "pod/api.production", "--manifests", folder]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/enrolled +yes \(namespace label\)/);
    expect(stdout).toMatch(/identity +spiffe:\/\/cluster.local\/ns\/production\/sa\/api/);
    expect(stdout).toMatch(/^8080 +PERMISSIVE +- +yes +production\/api:80$/m);
    expect(stdout).toMatch(/^production\/api-authz +ALLOW +1 +-$/m);
  });

  test("-o json has the same, for programs", async () => {
    const { stdout } = await warren(["describe", "pod/api.production", "--manifests", folder, "-o", "json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      schema: "warren.describe/v1",
      pods: [{ enrolled: true, otherwise: "deny", ports: [{ port: 8080, readsHttp: true }] }],
    });
  });

  test("a policy that cannot be evaluated makes it exit 1", async () => {
    writeFileSync(join(folder, "wrong.yaml"), wrong.replace("app: nobody", "app: api"));
    const { code, stdout } = await warren(["describe", "pod/api.production", "--manifests", folder]).finally(() =>
      writeFileSync(join(folder, "wrong.yaml"), ""),
    );
    expect(code).toBe(1);
    expect(stdout).toContain("WP100 production/wrong");
  });
});

describe("warren lint", () => {
  const lines = (file: string) => [
    `${file}:10 WP100 AuthorizationPolicy production/wrong spec.rules[0].from[0].source.ipBlocks[0]: "10.0.0.0/99" is not an IP address or CIDR block`,
    `${file}:16 WP110 PeerAuthentication production/ports spec.portLevelMtls: mesh and namespace objects cannot have port modes; add a selector`,
  ];

  test("of a file alone needs no cluster, and names file and line", async () => {
    const { code, stdout, stderr } = await warren(["lint", "-f", wrongFile]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toEqual(lines(wrongFile));
  });

  test("reads standard input", async () => {
    const { stdout } = await warren(["lint", "-f", "-"], wrong);
    expect(stdout.trimEnd().split("\n")).toEqual(lines("-"));
  });

  test("with a cluster it compares, and speaks of the file's objects only", async () => {
    const { stdout } = await warren(["lint", "-f", wrongFile, "--manifests", folder]);
    const codes = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" ")[1]);
    expect(codes).toEqual(["WP101", "WP100", "WP110"]);
    expect(stdout).toContain(`${wrongFile}:5 WP101 AuthorizationPolicy production/wrong spec.selector: no workload`);
  });

  test.each(["api-authz.yaml", "strict.yaml", "permissive.yaml", "legacy-exception.yaml"])(
    "finds nothing in %s",
    async (name) => {
      expect(await warren(["lint", "-f", example(name)])).toEqual({ code: 0, stdout: "", stderr: "no findings\n" });
    },
  );

  test("--fail-on decides what fails", async () => {
    const note = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: scheme}
spec: {rules: [{from: [{source: {principals: ["spiffe://cluster.local/ns/a/sa/b"]}}]}]}`;
    expect(await warren(["lint", "-f", "-"], note)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^-:4 WP103/) as string,
    });
    expect(await warren(["lint", "-f", "-", "--fail-on", "note"], note)).toMatchObject({ code: 1 });
  });

  test("text that is no YAML is a finding with its line", async () => {
    const { code, stdout } = await warren(["lint", "-f", "-"], "kind: A\n---\na: [1\n");
    expect(code).toBe(1);
    expect(stdout).toMatch(/^-:\d+ WP117 /);
  });

  test("a file that is not there is a usage error", async () => {
    expect(await warren(["lint", "-f", "/nowhere.yaml"])).toMatchObject({ code: 2 });
  });

  test("--codes lists the codes", async () => {
    expect((await warren(["lint", "--codes"])).stdout).toMatch(/^WP100 {2}.*\n(.*\n)+WP117/);
  });
});

describe("warren", () => {
  test("--help lists verbs by what one wants to know, help VERB and a misspelt verb say what is meant", async () => {
    const { code, stdout } = await warren(["--help"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: warren VERB[\s\S]*\nIs it encrypted:\n {2}tls-check +\S/);
    expect(await warren([])).toEqual({ code: 2, stdout: "", stderr: stdout });
    expect((await warren(["help", "why"])).stdout).toMatch(/^Usage: warren why \[options\] <src> <dst>/);
    const misspelt = await warren(["statsu"]);
    expect(misspelt).toMatchObject({ code: 2, stdout: "" });
    expect(misspelt.stderr).toContain("Did you mean status?");
  });

  test("a reader that goes away is no failure", async () => {
    const child = spawn("sh", ["-c", '"$0" "$@" | true; echo done', process.execPath, main, "status", "--help"], {
      stdio: "pipe",
    });
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    expect({ out, err }).toEqual({ out: "done\n", err: "" });
  });
});

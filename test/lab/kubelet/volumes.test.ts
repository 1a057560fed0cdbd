import { describe, expect, it } from "vitest";
import { configMapSchema, podSchema } from "../../../src/lab/cluster/objects.ts";
import { planVolumes, shellQuoted } from "../../../src/lab/kubelet/volumes.ts";
import { objectOf } from "../objects.ts";

const settings = objectOf(
  configMapSchema,
  "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a.txt: hello}}",
);

function planOf(mounts: string, volumes: string) {
  const pod = objectOf(
    podSchema,
    `
apiVersion: v1
kind: Pod
metadata: {name: x}
spec: {containers: [{name: c, command: [a], volumeMounts: ${mounts}}], volumes: ${volumes}}
`,
  );
  const configMap = (name: string) => (name === "settings" ? settings : undefined);
  return planVolumes(pod, "/state", configMap, (path) => path === "/etc");
}

describe("planVolumes", () => {
  it("mounts a ConfigMap's files at a private mount point", () => {
    expect(planOf("[{name: v, mountPath: /srv/app}]", "[{name: v, configMap: {name: settings}}]")).toEqual({
      sources: [{ folder: "/state/v", files: { "a.txt": "hello" } }],
      script: "mount -t tmpfs -o size=16m tmpfs /srv\nmkdir -p '/srv/app'\nmount --bind '/state/v' '/srv/app'",
    });
  });

  it("mounts an empty folder over one that the machine has", () => {
    expect(planOf("[{name: v, mountPath: /etc}]", "[{name: v, emptyDir: {}}]")).toEqual({
      sources: [{ folder: "/state/v", files: {} }],
      script: "mount --bind '/state/v' '/etc'",
    });
  });

  it("has nothing to do for a pod without mounts", () => {
    expect(planOf("[]", "[{name: v, hostPath: {path: /}}]")).toEqual({ sources: [], script: "" });
  });

  it.each([
    ["[{name: v, mountPath: /app}]", "[{name: v, emptyDir: {}}]", /\/app, which is not there; use a path below \/srv/],
    ["[{name: v, mountPath: /etc}]", "[{name: v, configMap: {name: absent}}]", /ConfigMap absent, which is not there/],
    ["[{name: v, mountPath: /etc}]", "[{name: v, hostPath: {path: /}}]", /no volume that the lab can make/],
    [
      "[{name: v, mountPath: /etc}, {name: w, mountPath: /etc}]",
      "[{name: v, emptyDir: {}}, {name: w, emptyDir: {}}]",
      /two volumes at \/etc/,
    ],
  ])("refuses %s of %s", (mounts, volumes, expected) => {
    expect(() => planOf(mounts, volumes)).toThrow(expected);
  });
});

describe("shellQuoted", () => {
  it("leaves the shell nothing to interpret", () => {
    expect(shellQuoted("a'b $(c)")).toBe(`'a'\\''b $(c)'`);
  });
});

/**
 * The image, built by its Dockerfile's own steps in a Debian of its own (debootstrap, chroot) instead of by a container engine, and the
 * program in it, run as the image would.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Instruction, readDockerfile, type Stage } from "../deploy/dockerfile.ts";

const run = promisify(execFile);
const checkout = fileURLToPath(new URL("../..", import.meta.url));
const buildMs = 1_200_000;
const maxBuffer = 64 * 1024 * 1024;

/** Certificates that this machine's npm trusts beyond Node's own, for networks that look into TLS: ours, and where the roots have them. */
const extraCertificates = process.env["NODE_EXTRA_CA_CERTS"];
const certificatesInRoot = "/etc/extra-certificates.pem";

/** A command as root of the folder, in mounts and processes of its own that go with it. */
async function inRoot(root: string, command: string, user = "0:0"): Promise<string> {
  const script = `mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot --userspec="$2" "$0" /bin/sh -c "$1"`;
  const environment = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    DEBIAN_FRONTEND: "noninteractive",
    npm_config_fetch_retries: "5",
    ...(extraCertificates === undefined ? {} : { NODE_EXTRA_CA_CERTS: certificatesInRoot }),
  };
  const isolated = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
  const { stdout } = await run("unshare", [...isolated, "sh", "-c", script, root, command, user], {
    env: environment,
    maxBuffer,
  });
  return stdout;
}

/** Debian's mirrors are other people's machines: asked again when one of them does not answer. */
async function debootstrap(base: string, tries = 3): Promise<void> {
  try {
    // Whether files are on a disk when the power goes is all the same to a folder that goes with the test: dpkg waits for each of them.
    await mkdir(join(base, "etc/dpkg/dpkg.cfg.d"), { recursive: true });
    await writeFile(join(base, "etc/dpkg/dpkg.cfg.d/unsafe-io"), "force-unsafe-io\n");
    await run("debootstrap", ["--variant=minbase", "bookworm", base], { maxBuffer });
    await writeFile(join(base, "etc/apt/apt.conf.d/80retries"), 'Acquire::Retries "5";\n');
  } catch (error) {
    if (tries === 1) throw error;
    await rm(base, { recursive: true, force: true });
    await debootstrap(base, tries - 1);
  }
}

describe("the image", () => {
  let folder: string;
  let root: string;
  let final: Stage;
  const stages = new Map<string, Promise<string>>();

  beforeAll(async () => {
    folder = await mkdtemp("/var/tmp/warren-image-");
    const base = join(folder, "base");
    await debootstrap(base);
    const copied = new Map([
      ["/etc/resolv.conf", "/etc/resolv.conf"],
      ["/etc/hosts", "/etc/hosts"],
    ]);
    if (extraCertificates !== undefined) copied.set(extraCertificates, certificatesInRoot);
    for (const [path, to] of copied) {
      if (existsSync(path)) await cp(path, join(base, to), { dereference: true, force: true });
    }
    const all = readDockerfile(await readFile(join(checkout, "deploy/Dockerfile"), "utf8"));
    // At once, as container engines do it: a stage waits where it copies from another.
    const built = all.map((stage) => {
      const made = build(stage, base);
      if (stage.name !== undefined) stages.set(stage.name, made);
      return { stage, made };
    });
    await Promise.all(built.map(({ made }) => made));
    const last = built.at(-1);
    if (last === undefined) throw new Error("the Dockerfile has no stage");
    final = last.stage;
    root = await last.made;
  }, buildMs);
  afterAll(() => rm(folder, { recursive: true, force: true }), 120_000);

  async function build(stage: Stage, base: string): Promise<string> {
    expect(stage.base).toBe("debian:bookworm-slim");
    const into = join(folder, stage.name ?? "final");
    await run("cp", ["-a", base, into]);
    let workdir = "/";
    for (const instruction of stage.instructions) {
      if (instruction.kind === "run") await inRoot(into, `cd ${workdir} && ${instruction.command}`);
      else if (instruction.kind === "copy") await copy(instruction, join(into, workdir));
      else {
        workdir = instruction.path;
        await mkdir(join(into, workdir), { recursive: true });
      }
    }
    return into;
  }

  async function copy({ from, sources, to }: Extract<Instruction, { kind: "copy" }>, into: string): Promise<void> {
    const target = join(into, to);
    await mkdir(sources.length > 1 ? target : dirname(target), { recursive: true });
    if (from === undefined) {
      const ignored = (await readFile(join(checkout, ".dockerignore"), "utf8"))
        .split("\n")
        .filter((line) => line !== "");
      const without = ignored.map((path) => `--exclude=./${path}`);
      await run("sh", ["-c", `tar -C "$0" -c "$@" . | tar -C "$TARGET" -x`, checkout, ...without], {
        env: { ...process.env, TARGET: target },
      });
      return;
    }
    const source = await stages.get(from);
    if (source === undefined) throw new Error(`COPY --from=${from}: there is no such stage`);
    for (const path of sources) await run("cp", ["-a", join(source, path), target]);
  }

  const warren = (...args: readonly string[]) =>
    inRoot(root, [...(final.entrypoint ?? []), ...args].join(" "), final.user);

  it("runs the program as a user without rights", async () => {
    expect(final.user).toBe("65532:65532");
    expect(await warren("node", "--help")).toContain("--node");
    expect(await warren("control", "--help")).toContain("--kubernetes-config");
  });

  it("has what the addons link, in the versions that they were built for", async () => {
    const addons = ["capture", "engine"].map(
      (name) => `require("/opt/warren/build/native/addons/warren_${name}.node")`,
    );
    expect(await inRoot(root, `node -p '${addons.join(";")}; process.version'`)).toMatch(/^v24\./);
  });

  it("has the CNI plugin as one program that needs nothing of its surroundings", async () => {
    const version = await inRoot(root, "CNI_COMMAND=VERSION /opt/warren/build/native/cni/warren-cni < /dev/null");
    expect(JSON.parse(version)).toHaveProperty("supportedVersions");
    await expect(inRoot(root, "ldd /opt/warren/build/native/cni/warren-cni")).rejects.toThrow(
      /not a dynamic executable|statically/,
    );
  });

  it("has no compiler, no package manager of Node's, no sources and no development packages", async () => {
    for (const path of ["usr/bin/g++", "usr/bin/clang", "usr/bin/make", "usr/bin/npm", "opt/warren/src"]) {
      expect(existsSync(join(root, path))).toBe(false);
    }
    for (const name of ["typescript", "vitest", "cmake-js"]) {
      expect(existsSync(join(root, "opt/warren/node_modules", name))).toBe(false);
    }
  });
});

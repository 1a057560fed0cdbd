import { execFile } from "node:child_process";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { aesOf, readMachine } from "../../src/lib/machine.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

test.each([
  ["flags\t\t: fpu aes avx512f vaes", "vaes avx512"],
  ["flags\t\t: fpu aes vaes", "vaes"],
  ["flags\t\t: fpu aes", "aes-ni"],
  ["flags\t\t: fpu", "none"],
  ["Features\t: fp asimd aes pmull", "armv8"],
  ["", "none"],
])("AES of a processor that says %j is %s", (cpuinfo, expected) => {
  expect(aesOf(`processor\t: 0\n${cpuinfo}\n`)).toBe(expected);
});

test("limits are read where the kernel tells them", async () => {
  const proc = await temporaryFolder();
  const write = async (path: string, text: string) => {
    await mkdir(join(proc, path, ".."), { recursive: true });
    await writeFile(join(proc, path), text);
  };
  await write(
    "self/limits",
    "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n",
  );
  await write("self/fd/0", "");
  await write("self/fd/1", "");
  await write("sys/fs/inotify/max_user_instances", "128\n");
  await mkdir(join(proc, "7/fd"), { recursive: true });
  for (const [fd, link] of ["pipe:[1]", "anon_inode:inotify", "socket:[2]", "anon_inode:inotify"].entries())
    await symlink(link, join(proc, `7/fd/${fd}`));
  await mkdir(join(proc, "8"));
  await write("sys/net/netfilter/nf_conntrack_count", "7\n");
  await write("sys/net/netfilter/nf_conntrack_max", "262144\n");
  expect(await readMachine(proc)).toMatchObject({
    descriptors: { used: 2, limit: 1024 },
    inotifyInstances: { used: 2, limit: 128 },
    conntrack: { used: 7, limit: 262_144 },
  });
});

test("a machine that tells nothing has nothing", async () => {
  expect(await readMachine(await temporaryFolder())).toMatchObject({
    aes: "none",
    descriptors: { used: 0, limit: 0 },
    conntrack: undefined,
  });
});

test("a program has as many descriptors as it may have, whatever it was started with", async () => {
  const module = new URL("../../src/lib/machine.ts", import.meta.url);
  const code = `import("${module.href}").then(async (machine) => console.log(await machine.readDescriptorLimit()))`;
  const { stdout } = await promisify(execFile)("prlimit", ["--nofile=256:2048", process.execPath, "-e", code]);
  expect(stdout.trim()).toBe("2048");
});

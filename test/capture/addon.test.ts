import { once } from "node:events";
import { closeSync, fstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { loadCaptureAddon } from "../../src/capture/addon.ts";
import { CaptureError } from "../../src/capture/errors.ts";
import { Machine, type Pod } from "./support/machine.ts";

const addon = loadCaptureAddon();
const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0).toReversed()) {
    cleanup();
  }
});

function ownNetns() {
  const netns = addon.netnsOpen("/proc/self/ns/net");
  cleanups.push(() => closeSync(netns.fd));
  return netns;
}

async function serve(fd: number): Promise<Server> {
  const server = createServer((socket) => socket.on("error", () => {}).end("hello"));
  server.listen({ fd });
  await once(server, "listening");
  cleanups.push(() => server.close());
  return server;
}

/** O_CLOEXEC and O_NONBLOCK as the kernel reports them. */
function flagsOf(fd: number): number {
  const line = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
  return Number.parseInt(line?.[1] ?? "", 8);
}

describe("the capture addon", () => {
  it("names the path and the remedy when it cannot be loaded", () => {
    expect(() => loadCaptureAddon("/nonexistent/warren_capture.node")).toThrow(
      expect.objectContaining({
        code: "MESH_ADDON_MISSING",
        message: expect.stringMatching(/\/nonexistent\/warren_capture\.node.*make/s),
      }),
    );
  });

  it("knows a netns by device, inode and cookie", () => {
    const netns = ownNetns();
    const status = fstatSync(netns.fd, { bigint: true });
    expect(netns).toMatchObject({ dev: status.dev, ino: status.ino });
    expect(netns.cookie).toBeGreaterThan(0n);
  });

  it.each(["/proc/self/ns/mnt", "/proc/self/status", "/nonexistent"])("refuses %s as a netns", (path) => {
    expect(() => addon.netnsOpen(path)).toThrow(CaptureError);
    expect(() => addon.netnsOpen(path)).toThrow(expect.objectContaining({ code: "MESH_NETNS_UNUSABLE" }));
  });

  it("lists the addresses of a netns", async () => {
    const addresses = await addon.netnsAddresses(ownNetns().fd);
    expect(addresses).toContainEqual({ interface: "lo", address: "127.0.0.1" });
  });

  it.each([
    { family: 4, address: "127.0.7.1" },
    { family: 6, address: "::1" },
  ] as const)("opens listeners and sockets for family $family that node:net can use", async ({ family, address }) => {
    const netns = ownNetns();
    const options = { family, address, port: 0, backlog: 16, transparent: false, reusePort: false };
    const server = await serve(await addon.listen(netns.fd, options));
    const { port } = server.address() as AddressInfo;
    const fd = addon.openSocket(netns.fd, { purpose: "leave", family, sourceAddress: address, mark: 0 });
    expect(flagsOf(fd) & 0o2004000).toBe(0o2004000);
    closeSync(fd);
    const [greeting] = (await once(connect(port, address), "data")) as [Buffer];
    expect(greeting.toString()).toBe("hello");
  });

  it("says when a port is taken", async () => {
    const netns = ownNetns();
    const options = { family: 4, address: "127.0.7.2", backlog: 1, transparent: false, reusePort: false } as const;
    const server = await serve(await addon.listen(netns.fd, { ...options, port: 0 }));
    const { port } = server.address() as AddressInfo;
    await expect(addon.listen(netns.fd, { ...options, port })).rejects.toMatchObject({ code: "MESH_PORT_TAKEN" });
  });

  it("works in many netns at once without leaving its own, and opens each socket where it was told", async () => {
    const machine = await Machine.start();
    try {
      const pods = await Promise.all(["a", "b", "c"].map((name) => machine.addPod(name)));
      const home = ownNetns();
      const rounds = Array.from({ length: 60 }, (_, index) => pods[index % pods.length] as Pod);
      const held = await Promise.all(
        rounds.map(async (pod) => {
          const netns = addon.netnsOpen(pod.netnsPath);
          const addresses = addon.netnsAddresses(netns.fd);
          // Only a socket of that netns can be bound to its address without IP_TRANSPARENT.
          const listening = addon.listen(netns.fd, {
            family: 4,
            address: pod.ip4,
            port: 0,
            backlog: 1,
            transparent: false,
            reusePort: false,
          });
          const fds = [netns.fd, addon.openSocket(netns.fd, { purpose: "leave", family: 6, mark: 0 }), await listening];
          for (const fd of fds) {
            closeSync(fd);
          }
          return (await addresses).some(({ address }) => address === pod.ip6);
        }),
      );
      expect(held.every(Boolean)).toBe(true);
      for (const task of readdirSync("/proc/self/task")) {
        expect(statSync(`/proc/self/task/${task}/ns/net`, { bigint: true }).ino).toBe(home.ino);
      }
    } finally {
      await Machine.stopAll([machine]);
    }
  });

  it("finds no conntrack entry where nothing was redirected, and repeats a fixed destination", async () => {
    const netns = ownNetns();
    const options = { family: 4, address: "127.0.7.3", port: 0, backlog: 1, transparent: false, reusePort: false };
    const server = await serve(await addon.listen(netns.fd, { ...options, family: 4 }));
    const { port } = server.address() as AddressInfo;
    const socket = connect(port, "127.0.7.3");
    await once(socket, "connect");
    const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
    expect(addon.originalDestination(fd, { kind: "conntrack" }, "outbound")).toBeUndefined();
    const destination = { address: "192.0.2.1", port: 80 };
    expect(addon.originalDestination(fd, { kind: "fixed", destination }, "inbound")).toEqual(destination);
    socket.destroy();
  });
});

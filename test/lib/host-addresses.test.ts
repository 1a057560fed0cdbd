import { mkdir, writeFile } from "node:fs/promises";
import type { networkInterfaces } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { hostAddresses } from "../../src/lib/host-addresses.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

type Interfaces = ReturnType<typeof networkInterfaces>;

const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.1.0/24 2 0 2
        |-- 10.244.1.0
           /24 link UNICAST
        |-- 10.244.1.1
           /32 host LOCAL
        |-- 10.244.1.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
`;
const six = `00000000000000000000000000000001 01 80 10 80       lo
fd001024400010000000000000000001 04 40 00 80    cni0
fe80000000000000000000fffe000001 02 40 20 80    eth0
`;

test("are those of the own namespace and of process 1's, a bridge's among them, without loopback and links", async () => {
  const proc = await temporaryFolder();
  await mkdir(join(proc, "1/net"), { recursive: true });
  await writeFile(join(proc, "1/net/fib_trie"), trie);
  await writeFile(join(proc, "1/net/if_inet6"), six);
  const own = { eth0: [{ address: "10.244.1.9" }, { address: "fe80::1" }], lo: [{ address: "::1" }] } as unknown;
  expect(await hostAddresses(proc, () => own as Interfaces)).toEqual([
    "10.244.1.1",
    "10.244.1.9",
    "fd00:1024:4000:1000::1",
  ]);
});

test("are those of the own namespace where process 1 tells nothing", async () => {
  const own = { eth0: [{ address: "192.0.2.7" }] } as unknown;
  expect(await hostAddresses(await temporaryFolder(), () => own as Interfaces)).toEqual(["192.0.2.7"]);
});

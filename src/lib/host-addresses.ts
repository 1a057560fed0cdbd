/**
 * Addresses of the machine that a process runs on: those of its own network namespace, and those of process 1's, which is the machine's
 * for a container that sees all processes. A bridge's address is among them: what a program of the machine says to a container on
 * that bridge comes from there, and from no address that anybody else knows the machine by.
 */
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { canonicalIp, ipFromBytes, isLoopback } from "./ip.ts";

export async function hostAddresses(
  proc = "/proc",
  interfaces: () => ReturnType<typeof networkInterfaces> = networkInterfaces,
): Promise<string[]> {
  const read = (path: string) => readFile(`${proc}/1/net/${path}`, "utf8").catch(() => "");
  const [trie, six] = await Promise.all([read("fib_trie"), read("if_inet6")]);
  const own = Object.values(interfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
  const found = [...own, ...localAddresses(trie), ...globalAddresses(six)].flatMap((text) => canonicalIp(text) ?? []);
  return [...new Set(found)]
    .filter((address) => !isLoopback(address) && !/^(fe[89ab]|169\.254\.)/.test(address))
    .sort();
}

/** Of /proc/net/fib_trie: leaves that are an address of the machine's own. */
function localAddresses(trie: string): string[] {
  return [...trie.matchAll(/\|-- (\S+)\n\s+\/32 host LOCAL/g)].flatMap(([, address]) => address ?? []);
}

/** Of /proc/net/if_inet6: address, interface, prefix length, scope (00 is global), flags, name. */
function globalAddresses(six: string): string[] {
  return [...six.matchAll(/^([0-9a-f]{32}) \S+ \S+ 00 /gm)].flatMap(
    ([, digits = ""]) => ipFromBytes(Buffer.from(digits, "hex")) ?? [],
  );
}

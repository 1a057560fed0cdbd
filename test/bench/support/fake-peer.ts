/**
 * The least that can stand in the bench's peer slot: TLS between the two pods instead of HBONE, and only the first target. It believes
 * nothing but its environment, as docs/bench.md describes it, and refuses a peer that is not the one named there.
 */
import { readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";

function setting(name: string): string {
  const value = process.env[`WARREN_PEER_${name}`];
  if (value === undefined) throw new Error(`WARREN_PEER_${name} is not set`);
  return value;
}

function address(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(":");
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
}

function join(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on("error", () => to.destroy());
    from.pipe(to);
  }
}

const papers = {
  cert: readFileSync(setting("CERTIFICATE")),
  key: readFileSync(setting("KEY")),
  ca: readFileSync(setting("TRUST")),
  minVersion: "TLSv1.3",
} as const;

function isExpected(socket: TLSSocket): boolean {
  const names = socket.getPeerCertificate().subjectaltname ?? "";
  return names.split(", ").includes(`URI:${setting("EXPECTED_IDENTITY")}`);
}

const listen = { port: Number(setting("LISTEN")), host: "::" };
const target = address(setting("TARGETS").split(",")[0] ?? "");
if (setting("ROLE") === "source") {
  createServer({ noDelay: true }, (client) => {
    const tunnel = connectTls({ ...address(setting("HBONE")), ...papers, checkServerIdentity: () => undefined });
    tunnel.setNoDelay(true);
    tunnel.once("secureConnect", () => {
      if (!isExpected(tunnel)) tunnel.destroy(new Error("not the expected peer"));
    });
    join(client, tunnel);
  }).listen(listen);
} else {
  createTlsServer({ ...papers, requestCert: true, rejectUnauthorized: true }, (tunnel) => {
    tunnel.setNoDelay(true);
    if (isExpected(tunnel)) join(tunnel, connect({ ...target, noDelay: true }));
    else tunnel.destroy();
  }).listen(listen);
}

/** What the tests of verbs about traffic add to the example shop: a generator of connections, a newcomer, and policies in the way. */
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Connections that each send one ECHO of their own length and read it back; prints what it moved. Each is one connection: by default Node
 * opens another to the other family's address when a stall of a quarter of a second came between (RFC 8305).
 */
export function flowGenerator(flows: number): string {
  return `
const { connect } = require("node:net");
let left = ${flows}, sent = 0, received = 0, failed = 0;
const one = () => new Promise((done) => {
  const text = "x".repeat(1 + (left * 7919) % 4000), request = "ECHO " + text + "\\r\\n";
  const answer = "$" + text.length + "\\r\\n" + text + "\\r\\n";
  let got = "";
  const socket = connect({ port: 6379, host: "database", autoSelectFamily: false }, () => socket.write(request));
  socket.setEncoding("utf8").on("data", (data) => { got += data; if (got.length >= answer.length) socket.end(); });
  socket.on("error", () => {}).on("close", () => {
    sent += request.length; received += got.length; if (got !== answer) failed++; done();
  });
});
const worker = async () => { while (left-- > 0) await one(); };
Promise.all(Array.from({ length: 16 }, worker)).then(() => console.log(JSON.stringify({ sent, received, failed })));`;
}

/** While this file names a node, an agent that starts there has a clock that is five minutes ahead of everybody's. */
export const skewedNode = join(tmpdir(), `warren-skewed-node-${process.pid}`);
const ahead = `const now = Date.now; Date.now = () => now() + 300_000;`;
export const skewedClock = `
file=$1; shift
if [ -e "$file" ] && echo "$*" | grep -q "nodes/$(cat "$file")/"; then
  export NODE_OPTIONS='--import=data:text/javascript;base64,${Buffer.from(ahead).toString("base64")}'
fi
exec "$@"`;

/** A command that the mission documents show, word for word but for the tool's name. */
export function warrens(command: string): string {
  return command.replace(/^(istioctl|linkerd viz) /, "warren ");
}

export const newcomer = `
apiVersion: v1
kind: Pod
metadata: {name: newcomer, namespace: production, labels: {app: newcomer}}
spec:
  nodeName: node-1
  serviceAccountName: newcomer
  terminationGracePeriodSeconds: 1
  containers: [{name: idle, command: [sleep, infinity]}]`;

export const noIperf = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-iperf, namespace: production}
spec:
  action: DENY
  selector: {matchLabels: {app: api}}
  rules: [{from: [{source: {principals: [cluster.local/ns/production/sa/iperf]}}]}]`;

export const tight = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api-tight, namespace: production}
spec: {podSelector: {matchLabels: {app: api}}, ingress: [{ports: [{port: 8080}]}]}`;

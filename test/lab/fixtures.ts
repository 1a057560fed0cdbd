/** Manifests that the lab's own tests share. */

/** An HTTP server on 8080 that answers with its host name and the caller's address. */
const server = `const http = require("node:http"); http.createServer((request, response) => response.end(
  require("node:os").hostname() + " " + request.socket.remoteAddress.replace("::ffff:", ""))).listen(8080, "::")`;

export interface WebTraits {
  readonly replicas?: number;
  /** YAML in flow style, as further fields of the container. */
  readonly container?: string;
}

export function web({ replicas = 1, container = "readinessProbe: {tcpSocket: {port: http}}" }: WebTraits = {}): string {
  return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {
        topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}}]}}
      containers:
      - {name: web, command: [node, -e, ${JSON.stringify(server)}], ports: [{name: http, containerPort: 8080}], ${container}}
`;
}

export function service(name: string, fields = ""): string {
  return `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {selector: {app: web}, ipFamilyPolicy: PreferDualStack, ports: [{port: 80, targetPort: http}]${fields === "" ? "" : `, ${fields}`}}
`;
}

/** A pod that idles on a node, for tests to run programs in. */
export function idle(name: string, node: string, fields = ""): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 1
  containers: [{name: idle, command: [sleep, infinity]}]
  ${fields}
`;
}

export function documents(...texts: readonly string[]): string {
  return texts.join("\n---\n");
}

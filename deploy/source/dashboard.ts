/** One Grafana dashboard: is everything encrypted, what is refused and why, when do certificates end, what does it cost. */

interface Query {
  readonly expression: string;
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  readonly about: string;
  readonly kind: "stat" | "timeseries" | "table";
  readonly unit: string;
  /** Of 24 columns. */
  readonly width: number;
  readonly queries: readonly Query[];
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

const rate = (metric: string, labels = "") => `rate(${metric}{${labels}}[$__rate_interval])`;
const only = (expression: string, legend = ""): readonly Query[] => [{ expression, legend }];
const opened = "istio_tcp_connections_opened_total";
const secure = 'connection_security_policy="mutual_tls",reporter="destination"';

export const rows: readonly Row[] = [
  {
    title: "Is everything encrypted?",
    panels: [
      {
        title: "Connections by mutual TLS",
        about: "Share of the connections into pods of the mesh that proved who called.",
        kind: "stat",
        unit: "percentunit",
        width: 6,
        queries: only(`sum(${rate(opened, secure)}) / sum(${rate(opened, 'reporter="destination"')})`),
      },
      {
        title: "Pods in the mesh",
        about: "Captured, against all that should be.",
        kind: "stat",
        unit: "short",
        width: 6,
        queries: [
          { expression: 'sum(warren_pods{state="captured"})', legend: "captured" },
          { expression: "sum(warren_pods)", legend: "wanted" },
        ],
      },
      {
        title: "Next certificate to end",
        about: "Renewed at half of its life: less than that, for long, is worth a look.",
        kind: "stat",
        unit: "s",
        width: 6,
        queries: only("min(warren_certificate_expiry_seconds)"),
      },
      {
        title: "Agents that hear from control",
        about: "Fewer than agents: the others go on with the last state.",
        kind: "stat",
        unit: "short",
        width: 6,
        queries: [
          { expression: "sum(warren_discovery_clients)", legend: "connected" },
          { expression: "count(warren_mesh_epoch)", legend: "agents" },
        ],
      },
      {
        title: "Plaintext by cause",
        about: "What would have to change for it to be encrypted; `warren plaintext` names the clients.",
        kind: "timeseries",
        unit: "cps",
        width: 12,
        queries: only(
          `sum by (cause, outcome) (${rate("warren_plaintext_connections_total")})`,
          "{{cause}} {{outcome}}",
        ),
      },
      {
        title: "Pods with plaintext clients",
        about: "Into which workload plaintext comes, and from where.",
        kind: "table",
        unit: "cps",
        width: 12,
        queries: only(
          `topk(20, sum by (destination_workload, destination_workload_namespace, source_workload, source_workload_namespace) (${rate(opened, 'connection_security_policy="none",reporter="destination"')}))`,
        ),
      },
    ],
  },
  {
    title: "Traffic",
    panels: [
      {
        title: "New connections",
        about: "As the destination's agents count them.",
        kind: "timeseries",
        unit: "cps",
        width: 8,
        queries: only(
          `sum by (destination_service) (${rate(opened, 'reporter="destination"')})`,
          "{{destination_service}}",
        ),
      },
      {
        title: "Bytes",
        about: "Received from clients, and sent to them.",
        kind: "timeseries",
        unit: "Bps",
        width: 8,
        queries: [
          {
            expression: `sum(${rate("istio_tcp_received_bytes_total", 'reporter="destination"')})`,
            legend: "received",
          },
          { expression: `sum(${rate("istio_tcp_sent_bytes_total", 'reporter="destination"')})`, legend: "sent" },
        ],
      },
      {
        title: "HTTP requests judged one by one",
        about: "Only on ports with HTTP rules.",
        kind: "timeseries",
        unit: "reqps",
        width: 8,
        queries: only(`sum by (status, reason) (${rate("warren_http_requests_total")})`, "{{status}} {{reason}}"),
      },
    ],
  },
  {
    title: "Refused and failed",
    panels: [
      {
        title: "Ends of connections",
        about: "Each reason with its likely causes: docs/reasons.md.",
        kind: "timeseries",
        unit: "cps",
        width: 12,
        queries: only(`sum by (reason) (${rate("warren_flows_closed_total", 'reason!="ok"')})`, "{{reason}}"),
      },
      {
        title: "Decisions by policy",
        about: "Connections and requests that a named policy decided, and what AUDIT and dry-run policies would have.",
        kind: "timeseries",
        unit: "cps",
        width: 12,
        queries: [
          {
            expression: `sum by (policy, reason) (${rate("warren_policy_decisions_total")})`,
            legend: "{{policy}} {{reason}}",
          },
          {
            expression: `sum by (policy, action) (${rate("warren_policy_shadow_matches_total")})`,
            legend: "{{policy}} {{action}} (not in force)",
          },
        ],
      },
    ],
  },
  {
    title: "Tunnels and certificates",
    panels: [
      {
        title: "Handshakes",
        about: "Results other than ok are reasons.",
        kind: "timeseries",
        unit: "ops",
        width: 8,
        queries: only(`sum by (direction, result) (${rate("warren_handshakes_total")})`, "{{direction}} {{result}}"),
      },
      {
        title: "Handshake time, 99 of 100",
        about: "From the first SYN, or accept, until HTTP/2 is ready.",
        kind: "timeseries",
        unit: "s",
        width: 8,
        queries: only(
          `histogram_quantile(0.99, sum by (le, direction) (${rate("warren_handshake_duration_seconds_bucket")}))`,
          "{{direction}}",
        ),
      },
      {
        title: "Certificate requests",
        about: "As control answered them.",
        kind: "timeseries",
        unit: "ops",
        width: 8,
        queries: only(`sum by (outcome) (${rate("warren_ca_requests_total")})`, "{{outcome}}"),
      },
    ],
  },
  {
    title: "Cost",
    panels: [
      {
        title: "Processor time of agents",
        about: "In processors.",
        kind: "timeseries",
        unit: "short",
        width: 8,
        queries: only(`${rate("process_cpu_seconds_total")} and on (instance) warren_mesh_epoch`, "{{instance}}"),
      },
      {
        title: "Memory of agents",
        about: "Resident; two thirds of it at rest are Node's own files.",
        kind: "timeseries",
        unit: "bytes",
        width: 8,
        queries: only("process_resident_memory_bytes and on (instance) warren_mesh_epoch", "{{instance}}"),
      },
      {
        title: "Lateness of the event loop",
        about: "How long a decision waits, 99 of 100. Bytes do not wait for it.",
        kind: "timeseries",
        unit: "s",
        width: 8,
        queries: only('warren_event_loop_lag_seconds{quantile="0.99"}', "{{instance}}"),
      },
    ],
  },
];

const height = { stat: 4, timeseries: 8, table: 8 } as const;
/** Grafana's own variable, chosen above the panels. */
const datasource = { type: "prometheus", uid: `\${datasource}` };

function panelJson(panel: Panel, id: number, x: number, y: number): object {
  return {
    id,
    type: panel.kind,
    title: panel.title,
    description: panel.about,
    datasource,
    gridPos: { x, y, w: panel.width, h: height[panel.kind] },
    fieldConfig: { defaults: { unit: panel.unit }, overrides: [] },
    targets: panel.queries.map(({ expression, legend }, index) => ({
      refId: String.fromCodePoint("A".charCodeAt(0) + index),
      expr: expression,
      legendFormat: legend,
      ...(panel.kind === "table" ? { format: "table", instant: true } : {}),
    })),
  };
}

export function dashboard(): object {
  const panels: object[] = [];
  let y = 0;
  for (const row of rows) {
    panels.push({ id: panels.length + 1, type: "row", title: row.title, gridPos: { x: 0, y: y++, w: 24, h: 1 } });
    let x = 0;
    let lineHeight = 0;
    for (const panel of row.panels) {
      if (x + panel.width > 24) {
        x = 0;
        y += lineHeight;
        lineHeight = 0;
      }
      panels.push(panelJson(panel, panels.length + 1, x, y));
      x += panel.width;
      lineHeight = Math.max(lineHeight, height[panel.kind]);
    }
    y += lineHeight;
  }
  return {
    uid: "warren",
    title: "Warren",
    tags: ["warren", "mtls"],
    schemaVersion: 39,
    refresh: "30s",
    time: { from: "now-1h", to: "now" },
    templating: { list: [{ name: "datasource", type: "datasource", query: "prometheus", label: "Data source" }] },
    panels,
  };
}

/** What should wake somebody, or be looked at, and what to do then. Written out as a PrometheusRule. */

export interface Alert {
  readonly name: string;
  readonly expression: string;
  /** How long it must hold. */
  readonly for: string;
  readonly severity: "critical" | "warning";
  readonly summary: string;
  readonly next: string;
}

export const alerts: readonly Alert[] = [
  {
    name: "WarrenCertificateExpiresSoon",
    expression: "min by (identity, instance) (warren_certificate_expiry_seconds) < 4 * 3600",
    for: "10m",
    severity: "warning",
    summary:
      "The certificate of {{ $labels.identity }} ends in {{ $value | humanizeDuration }} and was not renewed at half its life.",
    next: "warren certs; the renewals' last error stands there. Is control reachable from the node?",
  },
  {
    name: "WarrenCertificateEnded",
    expression: "min by (identity, instance) (warren_certificate_expiry_seconds) <= 0",
    for: "0m",
    severity: "critical",
    summary: "{{ $labels.identity }} has no valid certificate on {{ $labels.instance }}: its connections are refused.",
    next: "warren certs, then warren check.",
  },
  {
    name: "WarrenRenewalsFail",
    expression: 'sum by (instance) (rate(warren_certificate_renewals_total{result="failed"}[10m])) > 0',
    for: "30m",
    severity: "warning",
    summary: "{{ $labels.instance }} asks for certificates in vain.",
    next: "warren certs on that node; the log of control under the request's number.",
  },
  {
    name: "WarrenAuthorityEndsSoon",
    expression: 'warren_ca_expiry_timestamp_seconds{certificate="root"} - time() < 90 * 86400',
    for: "1h",
    severity: "warning",
    summary: "The mesh's root ends in {{ $value | humanizeDuration }}.",
    next: "warren ca rotate",
  },
  {
    name: "WarrenAuthorityNotRenewed",
    expression: 'warren_ca_expiry_timestamp_seconds{certificate!="root"} - time() < 0',
    for: "5m",
    severity: "critical",
    summary: "The authority's {{ $labels.certificate }} certificate has ended.",
    next: "warren ca status; the log of control.",
  },
  {
    name: "WarrenPodsNotCaptured",
    expression: 'sum by (instance) (warren_pods{state!="captured"}) > 0',
    for: "5m",
    severity: "warning",
    summary: "{{ $value }} pods on {{ $labels.instance }} should be in the mesh and are not.",
    next: "warren workloads; warren describe of one of them names what enrolment waits for.",
  },
  {
    name: "WarrenCaptureBroken",
    expression: 'sum by (instance) (increase(warren_capture_probes_total{result="failed"}[15m])) > 2',
    for: "0m",
    severity: "warning",
    summary:
      "The agent's own probes through pods of {{ $labels.instance }} failed: their redirection is not what it should be.",
    next: "warren check; does another program change network namespaces or BPF on that node?",
  },
  {
    name: "WarrenRefusesMany",
    expression:
      'sum by (reason) (rate(warren_flows_closed_total{reason=~"connect-.*|tls-.*|identity-mismatch|no-certificate|tunnel-lost|no-endpoint"}[5m])) / ignoring(reason) group_left sum(rate(warren_flows_closed_total[5m])) > 0.05',
    for: "10m",
    severity: "warning",
    summary: "{{ $value | humanizePercentage }} of all connections end with {{ $labels.reason }}.",
    next: "warren tap --verdict deny; docs/reasons.md has the likely causes.",
  },
  {
    name: "WarrenPlaintextUnderStrict",
    expression: 'sum by (instance, cause) (rate(warren_plaintext_connections_total{outcome="refused"}[10m])) > 0',
    for: "15m",
    severity: "warning",
    summary: "Plaintext clients are being refused on {{ $labels.instance }} ({{ $labels.cause }}).",
    next: "warren plaintext names them, and what to do.",
  },
  {
    name: "WarrenAgentsWithoutControl",
    expression: "count(warren_mesh_epoch) - sum(warren_discovery_clients) > 0",
    for: "5m",
    severity: "warning",
    summary:
      "{{ $value }} agents hear nothing from control: they go on with the last state, and their certificates are not renewed.",
    next: "warren status shows which. Are control's pods ready, and may those nodes reach port 15012?",
  },
  {
    name: "WarrenEventLoopLate",
    expression: 'max by (instance) (warren_event_loop_lag_seconds{quantile="0.99"}) > 0.25',
    for: "10m",
    severity: "warning",
    summary: "Decisions on {{ $labels.instance }} wait {{ $value | humanizeDuration }}.",
    next: "Is the node short of processor time? warren bundle has what a report needs.",
  },
  {
    name: "WarrenInternalErrors",
    expression: "sum by (instance) (increase(warren_internal_errors_total[1h])) > 0",
    for: "0m",
    severity: "warning",
    summary: "{{ $labels.instance }} survived something that must not happen.",
    next: "The agent's log has it; warren bundle has what a report needs.",
  },
];

export const ruleGroups = {
  groups: [
    {
      name: "warren",
      rules: alerts.map(({ name, expression, for: held, severity, summary, next }) => ({
        alert: name,
        expr: expression,
        for: held,
        labels: { severity },
        annotations: { summary, next },
      })),
    },
  ],
};

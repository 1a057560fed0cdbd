import { describe, expect, it } from "vitest";
import { expositionFormat, openMetricsText } from "../../src/telemetry/open-metrics.ts";

describe("the format of a scrape", () => {
  it.each([
    ["nothing said", undefined, "classic"],
    ["anything", "*/*", "classic"],
    ["a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "classic"],
    ["OpenMetrics alone", "application/openmetrics-text", "openmetrics"],
    ["a version that is not written", "application/openmetrics-text; version=2.0.0", "classic"],
    [
      "Prometheus 2",
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      "openmetrics",
    ],
    [
      "Prometheus 3",
      "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
      "openmetrics",
    ],
    ["text before OpenMetrics", "text/plain, application/openmetrics-text;q=0.5", "classic"],
    ["OpenMetrics refused", "application/openmetrics-text;q=0, text/plain;q=0.1", "classic"],
    ["a weight that is none", "application/openmetrics-text;q=much", "classic"],
    ["odd spelling", " Application/OpenMetrics-Text ; Version=1.0.0 ; Q=1 ", "openmetrics"],
  ])("for %s", (_who, accept, format) => {
    expect(expositionFormat(accept)).toBe(format);
  });
});

it.each([
  [
    "a counter's head",
    '# HELP a_total "x".\n# TYPE a_total counter\na_total 1\n',
    '# HELP a \\"x\\".\n# TYPE a counter\na_total 1\n',
  ],
  ["a gauge", "# HELP a A.\n# TYPE a gauge\na 1\n", "# HELP a A.\n# TYPE a gauge\na 1\n"],
  [
    "bounds of buckets",
    '# TYPE h histogram\nh_bucket{le="0.5"} 1\nh_bucket{le="5",x="y"} 1\nh_bucket{le="+Inf"} 1\n',
    '# TYPE h histogram\nh_bucket{le="0.5"} 1\nh_bucket{le="5.0",x="y"} 1\nh_bucket{le="+Inf"} 1\n',
  ],
  ["samples that go on", 'a_total{x="# TYPE b_total "} 1\n', 'a_total{x="# TYPE b_total "} 1\n'],
])("writes %s as OpenMetrics has it", (_what, classic, open) => {
  expect(openMetricsText(classic)).toBe(open);
});

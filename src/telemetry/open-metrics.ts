/** OpenMetrics 1.0 beside Prometheus' classic text format: which of the two a scraper wants, and the one written from the other. */

export type ExpositionFormat = "classic" | "openmetrics";

/** The version stands in the content type; Prometheus 3 reads nothing without a content type that it knows. */
export const expositionTypes: Readonly<Record<ExpositionFormat, string>> = {
  classic: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** What a complete answer ends with: OpenMetrics has an end mark, so that a scraper knows a cut answer. */
export const expositionEnds: Readonly<Record<ExpositionFormat, string>> = { classic: "", openmetrics: "# EOF\n" };

/** By the weights of `Accept` (RFC 9110 §12.5.1). Wildcards get the classic format, and so does whatever cannot be read. */
export function expositionFormat(accept: string | undefined): ExpositionFormat {
  let open = 0;
  let classic = 0;
  for (const range of (accept ?? "").toLowerCase().split(",")) {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim());
    const named = new Map(parameters.map((text) => [text.split("=")[0]?.trim(), text.split("=")[1]?.trim()]));
    const weight = named.has("q") ? Number(named.get("q")) : 1;
    if (!(weight >= 0 && weight <= 1)) continue;
    const version = named.get("version");
    if (type === "application/openmetrics-text" && (version === undefined || version === "1.0.0")) {
      open = Math.max(open, weight);
    } else if (type === "text/plain" || type === "text/*" || type === "*/*") {
      classic = Math.max(classic, weight);
    }
  }
  return open > 0 && open >= classic ? "openmetrics" : "classic";
}

/**
 * Whole lines of the classic format as OpenMetrics has them: a counter's family is named without the `_total` of its samples, bounds
 * of buckets are floats, and help texts escape quotes. Lines of samples are otherwise the same in both.
 */
export function openMetricsText(classic: string): string {
  // Samples that follow on those of an earlier piece; those of counters need nothing.
  if (!classic.startsWith("#")) return classic;
  return classic
    .replaceAll(/^# (HELP|TYPE) (\w+)_total /gm, "# $1 $2 ")
    .replaceAll(/^# HELP [^"\n]*"[^\n]*$/gm, (line) => line.replaceAll('"', '\\"'))
    .replaceAll(/^(\w+_bucket\{le="\d+)"/gm, '$1.0"');
}

/** A whole page of the classic format in the one that was asked for; OpenMetrics has no empty lines. */
export function expositionText(classic: string, format: ExpositionFormat): string {
  if (format === "classic") return classic;
  return `${openMetricsText(classic.replaceAll(/^\n/gm, ""))}${expositionEnds.openmetrics}`;
}

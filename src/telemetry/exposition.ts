/** Prometheus' text format, version 0.0.4, for families that are counted elsewhere and only written out here. */

export function familyHead(name: string, help: string, type: "counter" | "gauge"): string {
  return `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`;
}

/** `name="value",…` with the three characters escaped that the format reserves. */
export function labelsText(labels: Iterable<readonly [name: string, value: string]>): string {
  let text = "";
  for (const [name, value] of labels) {
    const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    text += `${text === "" ? "" : ","}${name}="${escaped}"`;
  }
  return text;
}

/** One family per entry: `flowsOpen` under `warren_engine` is the gauge `warren_engine_flows_open`, `…Total` names are counters. */
export function statsText(prefix: string, help: string, stats: Readonly<Record<string, number>>): string {
  let text = "";
  for (const [key, value] of Object.entries(stats)) {
    const words = key.replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
    const name = `${prefix}_${words.replaceAll(" ", "_")}`;
    text += `${familyHead(name, `${help}: ${words}.`, name.endsWith("_total") ? "counter" : "gauge")}${name} ${value}\n`;
  }
  return text;
}

/** One family with a sample per entry, told apart by one label. */
export function labelledText(
  name: string,
  help: string,
  type: "counter" | "gauge",
  label: string,
  samples: Iterable<readonly [string, number]>,
): string {
  let text = familyHead(name, help, type);
  for (const [key, value] of samples) text += `${name}{${labelsText([[label, key]])}} ${value}\n`;
  return text;
}

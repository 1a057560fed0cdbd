/** Knobs of the mesh that whoever makes a lab sets otherwise than the lab would: keys of the process's own configuration. */
export type SettingOverrides = Readonly<Record<string, unknown>>;

/** Nested maps are joined; everything else is replaced. */
export function overlay(base: SettingOverrides, over: SettingOverrides): Record<string, unknown> {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isMap(below) && isMap(value) ? overlay(below, value) : value;
  }
  return result;
}

function isMap(value: unknown): value is SettingOverrides {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

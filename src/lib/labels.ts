/** True if every wanted label is there with the wanted value; nothing wanted matches everything. */
export function labelsMatch(
  wanted: ReadonlyMap<string, string> | undefined,
  labels: ReadonlyMap<string, string>,
): boolean {
  if (wanted === undefined) return true;
  for (const [key, value] of wanted) if (labels.get(key) !== value) return false;
  return true;
}

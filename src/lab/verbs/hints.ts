/** What `warren lab up` suggests when it is done. */

export function whatToTry(id: string, { mesh, example }: { mesh: boolean; example: boolean }): string {
  const lines = [`lab ${id} is up. Try:`, "  npx warren lab status"];
  if (example) {
    lines.push("  npx warren lab exec frontend -- curl -s http://api:8080/orders");
    lines.push("  npx warren lab exec -n outside client -- curl -s http://api.production:8080/");
    lines.push("  npx warren lab exec frontend -- redis-cli -h database ping");
  }
  if (mesh) {
    lines.push("  npx warren lab logs --follow agent/node-1");
    if (example) lines.push("  npx warren lab apply -f examples/policies/strict.yaml");
  }
  lines.push("  npx warren lab down");
  return lines.join("\n");
}

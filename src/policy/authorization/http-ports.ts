import type { AuthorizationRule } from "../../model/authorization.ts";

/** False only if the rule can match nothing on this port; whoever it is from and whatever it asks of requests is left open. */
export function mayConcernPort(rule: AuthorizationRule, port: number): boolean {
  const text = String(port);
  const byOperation = rule.to.some(
    ({ ports, notPorts }) => (ports.length === 0 || ports.includes(text)) && !notPorts.includes(text),
  );
  return (
    (byOperation || rule.to.length === 0) &&
    rule.when.every(
      ({ key, values, notValues }) =>
        key !== "destination.port" || ((values.length === 0 || values.includes(text)) && !notValues.includes(text)),
    )
  );
}

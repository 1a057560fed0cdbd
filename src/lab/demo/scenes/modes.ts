/** PeerAuthentication: who is let in without mutual TLS. */
import { CheckFailed, expectThat } from "../checklist.ts";
import { cast, eventually, type Stage } from "../stage.ts";

/** curl's exit codes for a connection that was refused, reset or closed without an answer. */
const refusedExits = new Set([7, 52, 56]);

export async function modes(stage: Stage): Promise<void> {
  const { lab, checklist } = stage;
  await stage.applyPolicy("permissive.yaml");
  await checklist.check("PERMISSIVE lets a client outside the mesh in", async () => {
    const answer = await stage.http(cast.outsider, "http://api.production:8080/");
    expectThat(answer.status === 200, `answered ${answer.status}`);
    return `answered ${answer.status} over plaintext`;
  });
  const changedAt = performance.now();
  await stage.applyPolicy("strict.yaml");
  await checklist.check("STRICT refuses it", async () => {
    const { value } = await eventually("the refusal", 60_000, async () => {
      const result = await stage.curl(cast.outsider, "http://api.production:8080/");
      return refusedExits.has(result.code) ? result : undefined;
    });
    return `${value.stderr.trim()} (within ${Math.round(performance.now() - changedAt)} ms of the change)`;
  });
  await checklist.check("STRICT does not touch mesh clients", async () => {
    const answer = await stage.http(cast.frontend, "http://api:8080/");
    expectThat(answer.status === 200, `answered ${answer.status}`);
    return `answered ${answer.status}`;
  });
  await stage.applyPolicy("legacy-exception.yaml");
  await checklist.check(
    "DISABLE on app=legacy-service: plaintext clients are served, mesh peers send plaintext",
    async () => {
      const legacy = lab.pod("production/deploy/legacy-service");
      const { value: outside } = await eventually("an answer to the client outside", 60_000, async () => {
        const answer = await stage.http(cast.outsider, "http://legacy-service.production:8080/");
        return answer.status === 200 ? answer : undefined;
      });
      const { segments, result } = await stage.onTheWire(() =>
        stage.http(cast.frontend, "http://legacy-service:8080/"),
      );
      if (result.status !== 200) throw new CheckFailed(`the mesh client was answered ${result.status}`);
      const tunnelled = segments.some((one) => one.destinationPort === 15008 && legacy.ips.includes(one.destination));
      expectThat(!tunnelled, "the mesh client used a tunnel to a workload that takes none");
      return `client outside ${outside.status}, mesh client ${result.status}, no tunnel to ${legacy.ips.join(" or ")}`;
    },
  );
}

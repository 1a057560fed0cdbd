/** AuthorizationPolicy on identity and HTTP method: judged on the server's node, request by request. */
import { expectThat } from "../checklist.ts";
import { cast, eventually, type Stage } from "../stage.ts";

const url = "http://api:8080/orders";

export async function requests(stage: Stage): Promise<void> {
  const { lab, checklist } = stage;
  await stage.applyPolicy("api-authz.yaml");
  // The policy allows nothing but GET from frontend: once another method is refused, it is in force.
  const { value: refused } = await eventually("the policy in force", 60_000, async () => {
    const answer = await stage.http(cast.frontend, url, ["--request", "POST", "--data", "order"]);
    return answer.status === 403 ? answer : undefined;
  });
  await checklist.check("GET from frontend passes", async () => {
    const answer = await stage.http(cast.frontend, url);
    expectThat(answer.status === 200, `answered ${answer.status}`);
    return `answered ${answer.status}`;
  });
  await checklist.check("any other method is answered 403", async () => {
    expectThat(refused.body.includes("RBAC: access denied"), `the body is ${JSON.stringify(refused.body)}`);
    return `POST: ${refused.status} ${refused.body.trim()}`;
  });
  await checklist.check("any other identity is answered 403", async () => {
    const answer = await stage.http(cast.iperfClient, url);
    expectThat(answer.status === 403 && answer.body.includes("RBAC: access denied"), `${answer.status} ${answer.body}`);
    return `GET from sa/iperf: ${answer.status} ${answer.body.trim()}`;
  });
  await lab.delete("AuthorizationPolicy", "production", "api-authz");
}

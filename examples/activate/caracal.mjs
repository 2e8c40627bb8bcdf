// What both scripts need: the admin API, the daemon, and the payments example's
// policies and inputs. Everything is found by the environment that caracal dev
// writes: `. dev-data/env`.
import { readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";

// In a project of your own: import { AdminApiError, AdminClient } from "@caracalai/admin"
import { AdminApiError, AdminClient } from "../../admin/typescript/dist/index.js";

/** @param {string} name */
function variable(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set: start caracal dev and source the env file in its data directory`);
    process.exit(1);
  }
  return value;
}

export const admin = new AdminClient({ apiUrl: variable("CARACAL_API_URL"), adminToken: variable("CARACAL_ADMIN_TOKEN") });
export const zone = variable("CARACAL_ZONE_ID");
const decideUrl = variable("CARACAL_DECIDE_URL");

/**
 * Asks the daemon for a decision, as an STS does before it mints a token.
 * @param {unknown} input
 * @returns {Promise<{ decision: string, diagnostics: { reason?: string }[], request_id: string, policy_set_version_id: string }>}
 */
export async function decide(input) {
  const response = await fetch(`${decideUrl}/v1/decide`, { method: "POST", body: JSON.stringify(input) });
  if (!response.ok) {
    throw new Error(`the daemon refused: ${response.status} ${await response.text()}`);
  }
  return /** @type {any} */ (await response.json());
}

/**
 * A file of the examples.
 * @param {string} path
 */
export const example = (path) => readFile(new URL(`../${path}`, import.meta.url), "utf8");

/**
 * An input of the payments example, for this zone.
 * @param {string} name
 * @returns {Promise<unknown>}
 */
export async function input(name) {
  return JSON.parse((await example(`payments/inputs/${name}.json`)).replaceAll("ZONE_ID", zone));
}

/**
 * Creates a policy. One that is there from an earlier run gets a new version.
 * @param {string} name
 * @param {string} content
 * @returns {Promise<string>} the id of the policy version
 */
export async function publish(name, content) {
  try {
    const policy = await admin.policies.create(zone, { name, content });
    return policy.version.id;
  } catch (error) {
    if (!(error instanceof AdminApiError && error.code === "policy_name_conflict")) {
      throw error;
    }
  }
  const policy = (await admin.policies.list(zone)).find((p) => p.name === name);
  if (policy === undefined) {
    throw new Error(`the policy ${name} was there, and is no more`);
  }
  return (await admin.policies.addVersion(zone, policy.id, content)).id;
}

/**
 * Creates a policy set, or finds the one of an earlier run.
 * @param {string} name
 */
export async function policySet(name) {
  const set = (await admin.policySets.list(zone)).find((s) => s.name === name);
  return set ?? admin.policySets.create(zone, name);
}

/**
 * Explains a request. The daemon ships its audit a moment after it answered, so
 * the trace is waited for.
 * @param {string} requestId
 */
export async function explain(requestId) {
  for (const end = Date.now() + 30_000; ; await setTimeout(50)) {
    try {
      return await admin.audit.explain(zone, requestId);
    } catch (error) {
      if (!(error instanceof AdminApiError && error.code === "request_not_found") || Date.now() > end) {
        throw error;
      }
    }
  }
}

/**
 * Fails the script where something is not as it should be.
 * @param {unknown} holds
 * @param {string} what
 * @returns {asserts holds}
 */
export function expect(holds, what) {
  if (!holds) {
    throw new Error(what);
  }
}

import { badAnswer, refusal, type DecideError } from "./errors.js";
import { elements, members } from "./members.js";

/** How an evaluation ended. An error always denies. */
export type EvaluationStatus = "complete" | "partial" | "error";

/** An object that a policy's author made, such as a diagnostic. */
export interface Entry {
  reason?: unknown;
  [name: string]: unknown;
}

/** A policy that determined a decision; the ids are there for policies of the set. */
export interface DeterminingPolicy {
  policy: string;
  policy_id?: string;
  policy_version_id?: string;
  [name: string]: unknown;
}

/** The daemon's answer. Only `allowed` means yes. */
export class Decision {
  readonly decision: "allow" | "deny" = "deny";
  readonly evaluation_status: EvaluationStatus = "error";
  readonly determining_policies: readonly DeterminingPolicy[] = [];
  readonly diagnostics: readonly Entry[] = [];
  /** Finds the call in the audit. */
  readonly request_id: string = "";
  /** Finds this decision in the audit. */
  readonly decision_id: string = "";
  readonly zone_id: string = "";
  /** What decided; null where nothing is active in the zone or it is not loaded, which denies. */
  readonly policy_set_id: string | null = null;
  readonly policy_set_version_id: string | null = null;
  readonly manifest_sha256: string | null = null;
  readonly bundle_sha256: string | null = null;

  /** Without arguments it is a deny. */
  constructor(answer: Partial<Omit<Decision, "allowed">> = {}) {
    Object.assign(this, answer);
    Object.freeze(this);
  }

  /** Whether the token may be minted. Everything that is not a complete or partial allow is a no. */
  get allowed(): boolean {
    return this.decision === "allow" && (this.evaluation_status === "complete" || this.evaluation_status === "partial");
  }
}

/** What one input of a batch came to. Whenever there is an error, the decision is a deny. */
export interface Outcome {
  readonly decision: Decision;
  readonly error?: DecideError;
}

const STRINGS = ["decision", "evaluation_status", "request_id", "decision_id", "zone_id"];
const OPTIONAL = ["policy_set_id", "policy_set_version_id", "manifest_sha256", "bundle_sha256"];
const ARRAYS = ["determining_policies", "diagnostics"];
const HASH = /^[0-9a-f]{64}$/;

/** Reads an answer that JSON.parse has accepted, and checks that it is one to the question asked. */
export function readDecision(text: string, zone: string, requestId: string): Decision {
  const wrong = (why: string): never => {
    throw badAnswer(why, requestId);
  };
  const fields = new Map<string, unknown>();
  for (const [name, value] of members(text) ?? wrong("it is no object")) {
    if (!STRINGS.includes(name) && !OPTIONAL.includes(name) && !ARRAYS.includes(name)) continue; // a newer daemon may say more
    if (fields.has(name)) wrong(`${name} is there twice`);
    fields.set(name, JSON.parse(value));
  }
  for (const name of STRINGS) if (typeof fields.get(name) !== "string") wrong(`${name} is no string`);
  for (const name of OPTIONAL) if (fields.get(name) !== null && typeof fields.get(name) !== "string") wrong(`${name} is neither a string nor null`);
  for (const name of ARRAYS) if (!Array.isArray(fields.get(name))) wrong(`${name} is no array`);
  // The types were just checked, and the words are below.
  const d = new Decision(Object.fromEntries(fields) as Partial<Omit<Decision, "allowed">>);
  if (!["allow", "deny"].includes(d.decision)) wrong(`the decision is ${JSON.stringify(d.decision)}`);
  if (!["complete", "partial", "error"].includes(d.evaluation_status)) wrong(`the evaluation status is ${JSON.stringify(d.evaluation_status)}`);
  if (d.zone_id !== zone) wrong("it is for another zone");
  if (d.request_id !== requestId) wrong("it is for another request");
  if (d.decision_id === "") wrong("it has no decision id");
  if (d.decision === "allow") {
    if (d.evaluation_status === "error") wrong("it allows after an evaluation that failed");
    if (!d.policy_set_version_id || !HASH.test(d.manifest_sha256 ?? "") || !HASH.test(d.bundle_sha256 ?? "")) wrong("it allows without naming what allowed");
  }
  return d;
}

/** Reads the answer to a batch. */
export function readBatch(text: string, zones: readonly string[], requestId: string): Outcome[] {
  const results = members(text)?.filter(([name]) => name === "results") ?? [];
  const list = results.length === 1 ? elements(results[0]?.[1] ?? "") : undefined;
  if (list?.length !== zones.length) throw badAnswer(`it has ${list?.length ?? "no"} results for ${zones.length} inputs`, requestId);
  return list.map((one, i) => readOutcome(one, zones[i] ?? "", requestId));
}

function readOutcome(text: string, zone: string, requestId: string): Outcome {
  const fields = members(text) ?? [];
  const has = (wanted: string) => fields.some(([name]) => name === wanted);
  try {
    if (!has("error")) return { decision: readDecision(text, zone, requestId) };
    const body: { error?: unknown; error_description?: unknown } = JSON.parse(text);
    if (has("decision") || typeof body.error !== "string" || body.error === "") throw badAnswer("a refusal cannot be read", requestId);
    throw refusal(undefined, body.error, typeof body.error_description === "string" ? body.error_description : "", requestId);
  } catch (error) {
    // Nothing else is thrown above, and whatever it is, it denies.
    return { decision: new Decision({ request_id: requestId }), error: error as DecideError };
  }
}

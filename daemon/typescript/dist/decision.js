import { badAnswer, refusal } from "./errors.js";
import { elements, members } from "./members.js";
/** The daemon's answer. Only `allowed` means yes. */
export class Decision {
    decision = "deny";
    evaluation_status = "error";
    determining_policies = [];
    diagnostics = [];
    /** Finds the call in the audit. */
    request_id = "";
    /** Finds this decision in the audit. */
    decision_id = "";
    zone_id = "";
    /** What decided; null where nothing is active in the zone or it is not loaded, which denies. */
    policy_set_id = null;
    policy_set_version_id = null;
    manifest_sha256 = null;
    bundle_sha256 = null;
    /** Without arguments it is a deny. */
    constructor(answer = {}) {
        Object.assign(this, answer);
        Object.freeze(this);
    }
    /** Whether the token may be minted. Everything that is not a complete or partial allow is a no. */
    get allowed() {
        return this.decision === "allow" && (this.evaluation_status === "complete" || this.evaluation_status === "partial");
    }
}
const STRINGS = ["decision", "evaluation_status", "request_id", "decision_id", "zone_id"];
const OPTIONAL = ["policy_set_id", "policy_set_version_id", "manifest_sha256", "bundle_sha256"];
const ARRAYS = ["determining_policies", "diagnostics"];
const HASH = /^[0-9a-f]{64}$/;
/** Reads an answer that JSON.parse has accepted, and checks that it is one to the question asked. */
export function readDecision(text, zone, requestId) {
    const wrong = (why) => {
        throw badAnswer(why, requestId);
    };
    const fields = new Map();
    for (const [name, value] of members(text) ?? wrong("it is no object")) {
        if (!STRINGS.includes(name) && !OPTIONAL.includes(name) && !ARRAYS.includes(name))
            continue; // a newer daemon may say more
        if (fields.has(name))
            wrong(`${name} is there twice`);
        fields.set(name, JSON.parse(value));
    }
    for (const name of STRINGS)
        if (typeof fields.get(name) !== "string")
            wrong(`${name} is no string`);
    for (const name of OPTIONAL)
        if (fields.get(name) !== null && typeof fields.get(name) !== "string")
            wrong(`${name} is neither a string nor null`);
    for (const name of ARRAYS)
        if (!Array.isArray(fields.get(name)))
            wrong(`${name} is no array`);
    // The types were just checked, and the words are below.
    const d = new Decision(Object.fromEntries(fields));
    if (!["allow", "deny"].includes(d.decision))
        wrong(`the decision is ${JSON.stringify(d.decision)}`);
    if (!["complete", "partial", "error"].includes(d.evaluation_status))
        wrong(`the evaluation status is ${JSON.stringify(d.evaluation_status)}`);
    if (d.zone_id !== zone)
        wrong("it is for another zone");
    if (d.request_id !== requestId)
        wrong("it is for another request");
    if (d.decision_id === "")
        wrong("it has no decision id");
    if (d.decision === "allow") {
        if (d.evaluation_status === "error")
            wrong("it allows after an evaluation that failed");
        if (!d.policy_set_version_id || !HASH.test(d.manifest_sha256 ?? "") || !HASH.test(d.bundle_sha256 ?? ""))
            wrong("it allows without naming what allowed");
    }
    return d;
}
/** Reads the answer to a batch. */
export function readBatch(text, zones, requestId) {
    const results = members(text)?.filter(([name]) => name === "results") ?? [];
    const list = results.length === 1 ? elements(results[0]?.[1] ?? "") : undefined;
    if (list?.length !== zones.length)
        throw badAnswer(`it has ${list?.length ?? "no"} results for ${zones.length} inputs`, requestId);
    return list.map((one, i) => readOutcome(one, zones[i] ?? "", requestId));
}
function readOutcome(text, zone, requestId) {
    const fields = members(text) ?? [];
    const has = (wanted) => fields.some(([name]) => name === wanted);
    try {
        if (!has("error"))
            return { decision: readDecision(text, zone, requestId) };
        const body = JSON.parse(text);
        if (has("decision") || typeof body.error !== "string" || body.error === "")
            throw badAnswer("a refusal cannot be read", requestId);
        throw refusal(undefined, body.error, typeof body.error_description === "string" ? body.error_description : "", requestId);
    }
    catch (error) {
        // Nothing else is thrown above, and whatever it is, it denies.
        return { decision: new Decision({ request_id: requestId }), error: error };
    }
}

import { type DecideError } from "./errors.js";
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
export declare class Decision {
    readonly decision: "allow" | "deny";
    readonly evaluation_status: EvaluationStatus;
    readonly determining_policies: readonly DeterminingPolicy[];
    readonly diagnostics: readonly Entry[];
    /** Finds the call in the audit. */
    readonly request_id: string;
    /** Finds this decision in the audit. */
    readonly decision_id: string;
    readonly zone_id: string;
    /** What decided; null where nothing is active in the zone or it is not loaded, which denies. */
    readonly policy_set_id: string | null;
    readonly policy_set_version_id: string | null;
    readonly manifest_sha256: string | null;
    readonly bundle_sha256: string | null;
    /** Without arguments it is a deny. */
    constructor(answer?: Partial<Omit<Decision, "allowed">>);
    /** Whether the token may be minted. Everything that is not a complete or partial allow is a no. */
    get allowed(): boolean;
}
/** What one input of a batch came to. Whenever there is an error, the decision is a deny. */
export interface Outcome {
    readonly decision: Decision;
    readonly error?: DecideError;
}
/** Reads an answer that JSON.parse has accepted, and checks that it is one to the question asked. */
export declare function readDecision(text: string, zone: string, requestId: string): Decision;
/** Reads the answer to a batch. */
export declare function readBatch(text: string, zones: readonly string[], requestId: string): Outcome[];

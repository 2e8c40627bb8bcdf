/** The version of the input that this package writes. */
export declare const SCHEMA_VERSION = "2026-05-20";
/** What a decision is about. Further fields may be added everywhere; policies can read them. */
export interface Input {
    /** SCHEMA_VERSION by default. */
    schema_version?: string;
    principal: Principal;
    resource: Resource;
    action: Action;
    session?: {
        id: string;
        [more: string]: unknown;
    } | null;
    delegation_edge?: DelegationEdge | null;
    context: Context;
    [more: string]: unknown;
}
/** Who acts. */
export interface Principal {
    /** What sort of principal it is, such as user, application or agent. */
    type: string;
    id: string;
    /** The zone whose active policy set decides: [A-Za-z0-9_.:-]{1,128}. */
    zone_id: string;
    registration_method?: string | null;
    agent_session_id?: string | null;
    lifecycle?: "task" | "service" | null;
    labels?: string[] | null;
    [more: string]: unknown;
}
/** What is acted on. */
export interface Resource {
    type: string;
    id: string;
    /** The resource's own name, such as a URI. */
    identifier: string;
    /** The scopes that the resource offers. */
    scopes: string[];
    [more: string]: unknown;
}
/** What is done. */
export interface Action {
    id: string;
    method?: string | null;
    path?: string | null;
    [more: string]: unknown;
}
/** The delegation that the principal acts under. */
export interface DelegationEdge {
    id: string;
    source_session_id?: string | null;
    target_session_id?: string | null;
    issuer_application_id?: string | null;
    receiver_application_id?: string | null;
    resource_id?: string | null;
    scopes?: string[] | null;
    edge_version?: string | number | null;
    path?: unknown[] | null;
    graph_epoch?: string | number | null;
    constraints_json?: unknown;
    [more: string]: unknown;
}
/** The circumstances. */
export interface Context {
    actor_claims: Record<string, unknown>;
    /** Whether a step-up challenge was passed. */
    challenge_resolved: boolean;
    requested_scopes: string[];
    subject_claims?: Record<string, unknown> | null;
    trace_id?: string | null;
    session_id?: string | null;
    agent_session_id?: string | null;
    delegation_edge_id?: string | null;
    [more: string]: unknown;
}
/** An input as the text that is sent, and its zone. */
export declare function encode(input: Input | string): {
    text: string;
    zone: string;
};

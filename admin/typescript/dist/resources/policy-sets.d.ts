import { type WaitOptions } from "../activation.js";
import type { Activated, ActivationStatus, ManifestEntry, PolicySet, PolicySetVersion, Replay, Simulation } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
/** What a simulation is held against. */
export interface SimulateOptions extends CallOptions {
    /** Makes `would_activate` false where the decision is another. */
    expectedDecision?: "allow" | "deny" | undefined;
}
/** How one input is simulated. */
export interface SimulateOneOptions extends SimulateOptions {
    /** Asks for `trace`: which rules held, and which condition kept others from it. */
    trace?: boolean | undefined;
}
/** Which recent decisions are made again: the newest 200, where nothing is said. */
export interface ReplayOptions extends CallOptions {
    /** The most, 1 to 1,000. */
    limit?: number | undefined;
    /** Only what was decided so. */
    decision?: "allow" | "deny" | undefined;
    /** Only what was decided at this RFC 3339 time or later. */
    since?: string | undefined;
}
/** Under which conditions, and why, a version is activated. */
export interface ActivateOptions extends WriteOptions {
    /**
     * Activates only while this version governs the zone, null for none; 409
     * `active_version_changed` otherwise. Absent: no condition.
     */
    expectedActiveVersionId?: string | null | undefined;
    /** Kept in the zone's history. */
    reason?: string | undefined;
}
/** Named series of manifests: compose, simulate, activate. */
export declare class PolicySets {
    #private;
    constructor(operations: Operations);
    /** Lists a zone's policy sets, newest first. */
    list(zoneId: string, query?: ListQuery, options?: CallOptions): Promise<PolicySet[]>;
    /** Goes through a zone's policy sets, newest first. */
    iterate(zoneId: string, query?: ListQuery, options?: CallOptions): AsyncGenerator<PolicySet, void, undefined>;
    /** Reads a page of a zone's policy sets. */
    page(zoneId: string, query?: PageQuery, options?: CallOptions): Promise<Page<PolicySet>>;
    /** Reads a policy set. */
    get(zoneId: string, setId: string, options?: CallOptions): Promise<PolicySet>;
    /** Creates a policy set. 409 `policy_set_name_conflict`. */
    create(zoneId: string, name: string, description?: string, options?: WriteOptions): Promise<PolicySet>;
    /** Archives a set; a zone that it governs denies everything from then on. */
    delete(zoneId: string, setId: string, options?: CallOptions): Promise<void>;
    /**
     * Makes a version from policy versions, in order. 422 `invalid_policy_contract`
     * for a manifest, `invalid_policy_bundle` for a whole, that cannot be.
     */
    addVersion(zoneId: string, setId: string, manifest: ManifestEntry[], options?: WriteOptions): Promise<PolicySetVersion>;
    /** Lists a set's versions, newest first. */
    listVersions(zoneId: string, setId: string, query?: ListQuery, options?: CallOptions): Promise<PolicySetVersion[]>;
    /** Goes through a set's versions, newest first. */
    iterateVersions(zoneId: string, setId: string, query?: ListQuery, options?: CallOptions): AsyncGenerator<PolicySetVersion, void, undefined>;
    /** Reads a page of a set's versions. */
    pageVersions(zoneId: string, setId: string, query?: PageQuery, options?: CallOptions): Promise<Page<PolicySetVersion>>;
    /** Reads a version with its manifest and policies. */
    getVersion(zoneId: string, setId: string, versionId: string, options?: CallOptions): Promise<PolicySetVersion>;
    /**
     * Evaluates an input by a version, with the engine that serves traffic. Nothing
     * changes. Without an input, only the checks that need none are made, and
     * `result` is null. With `trace`, which needs an input, it tells how the rules
     * came to the result.
     */
    simulate(zoneId: string, setId: string, versionId: string, input?: unknown, options?: SimulateOneOptions): Promise<Simulation>;
    /** Evaluates many inputs, up to 1,000, at once; `results` answers them in order. */
    simulateAll(zoneId: string, setId: string, versionId: string, inputs: unknown[], options?: SimulateOptions): Promise<Simulation>;
    /**
     * Makes the zone's recent decisions again by a version, on the inputs that the
     * audit kept, and tells which come out otherwise. Nothing changes.
     */
    replay(zoneId: string, setId: string, versionId: string, options?: ReplayOptions): Promise<Replay>;
    /**
     * Moves the zone's pointer to a version; an older one rolls back. The daemons
     * load it then: see {@link activationStatus} and {@link waitUntilLoaded}.
     */
    activate(zoneId: string, setId: string, versionId: string, options?: ActivateOptions): Promise<Activated>;
    /**
     * Tells how far an activation has come: the pointer, the outbox, the daemons.
     * Without a version or an outbox id, that of the set's active version.
     */
    activationStatus(zoneId: string, setId: string, versionId?: string, outboxId?: string, options?: CallOptions): Promise<ActivationStatus>;
    /**
     * Waits until the daemons have loaded an activated version. Rejects with a
     * {@link NotLoadedError} where they could not, where another was activated
     * meanwhile, and after `withinMs`.
     */
    waitUntilLoaded(zoneId: string, setId: string, versionId: string, options?: WaitOptions): Promise<ActivationStatus>;
}

import type { Activation, Active, Zone, ZoneCreate, ZoneUpdate } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
/** Tenants, and what governs each. */
export declare class Zones {
    #private;
    constructor(operations: Operations);
    /** Lists the zones that the token reaches, newest first. */
    list(query?: ListQuery, options?: CallOptions): Promise<Zone[]>;
    /** Goes through the zones, newest first. */
    iterate(query?: ListQuery, options?: CallOptions): AsyncGenerator<Zone, void, undefined>;
    /** Reads a page of the zones. */
    page(query?: PageQuery, options?: CallOptions): Promise<Page<Zone>>;
    /** Reads a zone. 404 `zone_not_found`. */
    get(zoneId: string, options?: CallOptions): Promise<Zone>;
    /** Creates a zone, which denies everything to begin with. */
    create(zone: ZoneCreate, options?: WriteOptions): Promise<Zone>;
    /** Changes the fields that are given. */
    patch(zoneId: string, changes: ZoneUpdate, options?: CallOptions): Promise<Zone>;
    /** Archives a zone; its daemons deny everything from then on. */
    delete(zoneId: string, options?: CallOptions): Promise<void>;
    /** Reads what governs a zone: set, version, hashes, sequence, since when, by whom. */
    active(zoneId: string, options?: CallOptions): Promise<Active>;
    /** Lists a zone's activations, newest first. */
    activations(zoneId: string, query?: ListQuery, options?: CallOptions): Promise<Activation[]>;
    /** Goes through a zone's activations, newest first. */
    iterateActivations(zoneId: string, query?: ListQuery, options?: CallOptions): AsyncGenerator<Activation, void, undefined>;
    /** Reads a page of a zone's activations. */
    pageActivations(zoneId: string, query?: PageQuery, options?: CallOptions): Promise<Page<Activation>>;
}

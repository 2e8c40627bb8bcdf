import type { Daemon, Fleet } from "../models.js";
import type { Operations, QueryOf } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
/** Which daemons are meant: by state, by labels (`["region=eu"]`), by a part of their name, id or version. */
export type DaemonFilter = Omit<QueryOf<"/v1/fleet">, "zone">;
/** The fleet: which daemons there are, how they are, and what each has loaded. A zone of null is every zone. */
export declare class Daemons {
    #private;
    constructor(operations: Operations);
    /** Lists daemons, by id: all that match, in memory. Retired ones are only listed where they are asked for. */
    list(zoneId?: string | null, query?: DaemonFilter & ListQuery, options?: CallOptions): Promise<Daemon[]>;
    /** Goes through daemons, by id, with one page in memory. */
    iterate(zoneId?: string | null, query?: DaemonFilter & ListQuery, options?: CallOptions): AsyncGenerator<Daemon, void, undefined>;
    /** Reads a page of daemons. */
    page(zoneId?: string | null, query?: DaemonFilter & PageQuery, options?: CallOptions): Promise<Page<Daemon>>;
    /** Reads a daemon with all of its zones. 404 `daemon_not_found`. */
    get(daemonId: string, options?: CallOptions): Promise<Daemon>;
    /**
     * Retires a daemon that is gone: activations wait for it no more, and the next
     * token or certificate to report for it has it. One that reports again is back.
     */
    retire(daemonId: string, options?: WriteOptions): Promise<void>;
    /** Counts daemons by state and version. */
    fleet(zoneId?: string | null, filter?: DaemonFilter, options?: CallOptions): Promise<Fleet>;
}

import type { Daemon } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
/** The fleet: which daemons there are and what each has loaded. A zone of null is every zone. */
export declare class Daemons {
    #private;
    constructor(operations: Operations);
    /** Lists the daemons that have reported. */
    list(zoneId?: string | null, query?: ListQuery, options?: CallOptions): Promise<Daemon[]>;
    /** Goes through the daemons that have reported. */
    iterate(zoneId?: string | null, query?: ListQuery, options?: CallOptions): AsyncGenerator<Daemon, void, undefined>;
    /** Reads a page of the daemons that have reported. */
    page(zoneId?: string | null, query?: PageQuery, options?: CallOptions): Promise<Page<Daemon>>;
}

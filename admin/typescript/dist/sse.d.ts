/** One server-sent event. */
export interface ServerSentEvent {
    /** The newest id that the stream has given, "" before the first. */
    readonly id: string;
    /** The event's type, "message" where it has none. */
    readonly event: string;
    readonly data: string;
}
/**
 * Reads a stream of server-sent events, as the HTML standard describes it:
 * lines end with LF, CR or CRLF, comments are skipped, and an event that the end
 * of the stream cut off is none. `next` gives the bytes, undefined at the end; `onId` is
 * told of an id that comes without data, which says where the stream stands.
 */
export declare function readEvents(next: () => Promise<Uint8Array | undefined>, onId: (id: string) => void): AsyncGenerator<ServerSentEvent, void, undefined>;

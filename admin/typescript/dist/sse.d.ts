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
 * of the stream cut off is none. `onBytes` is told of all that comes, comments too.
 */
export declare function readEvents(chunks: ReadableStreamDefaultReader<Uint8Array>, onBytes: () => void): AsyncGenerator<ServerSentEvent, void, undefined>;

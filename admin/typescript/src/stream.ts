import { AdminConnectionError } from "./errors.js";
import type { Opened } from "./transport.js";

/**
 * Gives the bytes of an open answer. One that breaks off ends with an error, so
 * that nobody takes a part for the whole.
 */
export function bytesOf({ response, deadline }: Opened, method: string, path: string): ReadableStream<Uint8Array> {
  if (response.body === null) {
    deadline.close();
    throw new AdminConnectionError({ method, path }, "invalid_answer", "the answer has no body");
  }
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await deadline.wait(reader.read());
          if (done) {
            deadline.close();
            controller.close();
          } else {
            controller.enqueue(value);
          }
        } catch (error) {
          const reason: unknown = deadline.signal.aborted
            ? deadline.signal.reason
            : new AdminConnectionError({ method, path }, "network_error", "the answer broke off", error);
          deadline.abort();
          deadline.close();
          controller.error(reason);
        }
      },
      async cancel(reason) {
        deadline.close();
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}

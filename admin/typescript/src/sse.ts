/** One server-sent event. */
export interface ServerSentEvent {
  /** The newest id that the stream has given, "" before the first. */
  readonly id: string;
  /** The event's type, "message" where it has none. */
  readonly event: string;
  readonly data: string;
}

/** The longest line that is read, in characters. */
const maxLine = 32 << 20;

/**
 * Reads a stream of server-sent events, as the HTML standard describes it:
 * lines end with LF, CR or CRLF, comments are skipped, and an event that the end
 * of the stream cut off is none. `next` gives the bytes, undefined at the end; `onId` is
 * told of an id that comes without data, which says where the stream stands.
 */
export async function* readEvents(
  next: () => Promise<Uint8Array | undefined>,
  onId: (id: string) => void,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const decoder = new TextDecoder(); // takes the byte order mark off
  let rest = "";
  let id = "";
  let told = "";
  let type = "";
  let data: string[] = [];
  for (;;) {
    const chunk = await next();
    if (chunk === undefined) {
      return;
    }
    rest += decoder.decode(chunk, { stream: true });
    const { lines, left } = split(rest);
    rest = left;
    if (rest.length > maxLine) {
      throw new RangeError(`a line has more than ${maxLine} characters`);
    }
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) {
          yield { id, event: type === "" ? "message" : type, data: data.join("\n") };
        } else if (id !== told) {
          onId(id);
        }
        told = id;
        type = "";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const text = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
      if (field === "data") {
        data.push(text);
      } else if (field === "event") {
        type = text;
      } else if (field === "id" && !text.includes("\0")) {
        id = text;
      }
    }
  }
}

/** Takes the whole lines off a text. A CR at its end may be half of a CRLF, and stays. */
function split(text: string): { lines: string[]; left: string } {
  const lines: string[] = [];
  let start = 0;
  for (let i = nextEnd(text, 0); i >= 0; i = nextEnd(text, start)) {
    if (text[i] === "\r" && i === text.length - 1) {
      break;
    }
    lines.push(text.slice(start, i));
    start = text[i] === "\r" && text[i + 1] === "\n" ? i + 2 : i + 1;
  }
  return { lines, left: text.slice(start) };
}

/** Finds the next CR or LF from a place on, -1 where there is none. */
function nextEnd(text: string, from: number): number {
  const end = /[\r\n]/g;
  end.lastIndex = from;
  return end.exec(text)?.index ?? -1;
}

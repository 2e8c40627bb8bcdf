/** The longest line that is read, in characters. */
const maxLine = 32 << 20;
/**
 * Reads a stream of server-sent events, as the HTML standard describes it:
 * lines end with LF, CR or CRLF, comments are skipped, and an event that the end
 * of the stream cut off is none. `next` gives the bytes, undefined at the end; `onId` is
 * told of an id that comes without data, which says where the stream stands.
 */
export async function* readEvents(next, onId) {
    const decoder = new TextDecoder(); // takes the byte order mark off
    let rest = "";
    let id = "";
    let told = "";
    let type = "";
    let data = [];
    for (;;) {
        const chunk = await next();
        if (chunk === undefined) {
            return;
        }
        const searched = Math.max(0, rest.length - 1); // its end may be a CR
        rest += decoder.decode(chunk, { stream: true });
        const { lines, left } = split(rest, searched);
        rest = left;
        if (rest.length > maxLine) {
            throw new RangeError(`a line has more than ${maxLine} characters`);
        }
        for (const line of lines) {
            if (line === "") {
                if (data.length > 0) {
                    yield { id, event: type === "" ? "message" : type, data: data.join("\n") };
                }
                else if (id !== told) {
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
            }
            else if (field === "event") {
                type = text;
            }
            else if (field === "id" && !text.includes("\0")) {
                id = text;
            }
        }
    }
}
/**
 * Takes the whole lines off a text, in which there is no end of a line before
 * searched. A CR at its end may be half of a CRLF, and stays.
 */
function split(text, searched) {
    const lines = [];
    const end = /\r\n|\r(?!$)|\n/g;
    end.lastIndex = searched;
    let start = 0;
    for (let at = end.exec(text); at !== null; at = end.exec(text)) {
        lines.push(text.slice(start, at.index));
        start = end.lastIndex;
    }
    return { lines, left: text.slice(start) };
}

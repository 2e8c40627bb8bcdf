/*
 * The functions here walk JSON that JSON.parse has accepted. JSON.parse alone
 * lets the last of two members of one name win, and an answer with two decisions
 * must be refused, not guessed at.
 */

/** The members of an object in order, each value as text; undefined for what is no object. */
export function members(text: string): [name: string, value: string][] | undefined {
  const list: [string, string][] = [];
  let i = skip(text, 0);
  if (text[i] !== "{") return undefined;
  for (i = skip(text, i + 1); text[i] !== "}"; i = skip(text, i)) {
    const endOfName = end(text, i);
    const name: unknown = JSON.parse(text.slice(i, endOfName));
    i = skip(text, endOfName);
    const endOfValue = end(text, i);
    list.push([String(name), text.slice(i, endOfValue)]);
    i = endOfValue;
  }
  return list;
}

/** The elements of an array, as text; undefined for what is no array. */
export function elements(text: string): string[] | undefined {
  const list: string[] = [];
  let i = skip(text, 0);
  if (text[i] !== "[") return undefined;
  for (i = skip(text, i + 1); text[i] !== "]"; i = skip(text, i)) {
    const next = end(text, i);
    list.push(text.slice(i, next));
    i = next;
  }
  return list;
}

/** Where the next value or bracket begins. */
function skip(text: string, i: number): number {
  while (" \t\r\n,:".includes(text.charAt(i)) && i < text.length) i++;
  return i;
}

/** Where the value that begins at i ends. */
function end(text: string, i: number): number {
  const first = text[i];
  if (first === '"') return endOfString(text, i);
  if (first !== "{" && first !== "[") {
    while (i < text.length && !" \t\r\n,]}:".includes(text.charAt(i))) i++;
    return i;
  }
  for (let depth = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') i = endOfString(text, i) - 1;
    else if (c === "{" || c === "[") depth++;
    else if ((c === "}" || c === "]") && --depth === 0) return i + 1;
  }
  return i;
}

function endOfString(text: string, i: number): number {
  for (i++; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
  return i;
}

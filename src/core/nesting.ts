/**
 * How deep a JSON text is nested. Who walks through a value does so on the stack, and one nested some thousand deep would
 * end that with an error that nobody expects, from etcd or from a request.
 */

/** Nothing of ours is nested further than six deep. */
const DEEPEST = 100;
/** Of a shorter text the stack bears every nesting. */
const SHORT = 2_000;

/** @param json - that was parsed */
export function isNestedTooDeep(json: string): boolean {
  if (json.length < SHORT) return false;
  let depth = 0;
  for (const [mark] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]}]/g)) {
    if (mark === '[' || mark === '{') depth += 1;
    else if (mark === ']' || mark === '}') depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

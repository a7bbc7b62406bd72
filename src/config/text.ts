/**
 * Bytes of a configuration file into text, or the place where they stop being some: files that somebody names may be
 * binary, endless, or in another encoding. It reads no file, and knows no setting.
 */

/** No configuration is longer; what is would be read for nothing. */
export const MOST_BYTES = 1024 * 1024;

export type Text =
  | { readonly kind: 'text'; readonly text: string }
  /** `line 3, column 1: ...` */
  | { readonly kind: 'none'; readonly why: string };

/** Its message begins with the place: `line 3, column 1: ...` */
export class NoText extends Error {
  override readonly name = 'NoText';
}

const none = (why: string): Text => ({ kind: 'none', why });

/** What files, members and etcd say is shown on a terminal: nothing in it may steer that, or turn its letters around. */
export const printable = (text: string): string =>
  text.replace(/[^\P{Cc}\n]|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, '?');

/** Settings are text: what is none is told of by where it stops being some. */
export function readText(bytes: Uint8Array): Text {
  if (bytes.length > MOST_BYTES)
    return none(`line 1, column 1: longer than ${MOST_BYTES} bytes: this is no configuration file`);
  const zero = bytes.indexOf(0);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    return none(`${placeOf(bytes, firstForeignByte(bytes))}: not text in UTF-8`);
  }
  if (zero >= 0) return none(`${placeOf(bytes, zero)}: a byte 0, as no text file has one`);
  return { kind: 'text', text };
}

/** By halves: all bytes before it decode. */
function firstForeignByte(bytes: Uint8Array): number {
  const decodes = (length: number, stream = true): boolean => {
    try {
      // A letter that is cut off at the end is not foreign yet: that is what `stream` says.
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length), { stream });
      return true;
    } catch {
      return false;
    }
  };
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (decodes(middle)) good = middle;
    else bad = middle;
  }
  // The letter that was begun and does not go on.
  while (good > 0 && !decodes(good, false)) good -= 1;
  return good;
}

function placeOf(bytes: Uint8Array, at: number): string {
  let line = 1;
  let start = 0;
  for (let index = 0; index < at; index += 1) {
    if (bytes[index] === 10) {
      line += 1;
      start = index + 1;
    }
  }
  return `line ${line}, column ${at - start + 1}`;
}

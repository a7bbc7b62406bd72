import { describe, expect, it } from 'vitest';
import { lineReader } from '../../../src/guard/wire.ts';

describe('the line reader', () => {
  it('finds lines however the stream was cut', () => {
    const lines: string[] = [];
    const read = lineReader((line) => lines.push(line));
    for (const chunk of ['{"a"', ':1}\n{"b":2}\n', '\n{"c"', ':3}']) read(chunk);
    expect(lines).toEqual(['{"a":1}', '{"b":2}']);
    read('\n');
    expect(lines).toEqual(['{"a":1}', '{"b":2}', '{"c":3}']);
  });
});

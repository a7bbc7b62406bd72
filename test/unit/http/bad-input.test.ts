/** What nobody should send: a clear 4xx with the reason, and nothing asked of the agent. */
import { describe, expect, it } from 'vitest';
import { aControl, anApi, type FakeControl } from './builders.ts';

type Method = 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Endpoints that need a JSON object with something in it, and those to which one may be given. */
const NEED: readonly (readonly [Method, string])[] = [
  ['PATCH', '/config'],
  ['PUT', '/config'],
  ['POST', '/switchover'],
  ['POST', '/failover'],
  ['POST', '/failsafe'],
  ['POST', '/pgha/rescue'],
];
const MAY: readonly (readonly [Method, string])[] = [
  ['POST', '/restart'],
  ['POST', '/reinitialize'],
];

const BODIES: readonly (readonly [string, string, number])[] = [
  ['text that is no JSON', '{"leader":', 400],
  ['JSON that ends too late', '{"leader":"a"}}', 400],
  ['a list', '[{"leader":"a"}]', 400],
  ['a text', '"a"', 400],
  ['a number', '17', 400],
  ['true', 'true', 400],
  ['bytes that are no text', '\u0000\u0001\ufffd', 400],
  [
    'lists in lists',
    `{"leader":"a","candidate":"b","member":"c","x":${'['.repeat(400_000)}${']'.repeat(400_000)}}`,
    400,
  ],
  ['maps in maps', `{"leader":"a","candidate":"b","ttl":${'{"a":'.repeat(150_000)}1${'}'.repeat(150_000)}}`, 400],
  ['more than any request is', JSON.stringify({ leader: 'a'.repeat(1024 * 1024) }), 413],
];

/** Nobody was asked to do anything. */
function expectUntouched({ asked }: FakeControl): void {
  expect([asked.switchovers, asked.requests, asked.configs]).toEqual([[], [], []]);
}

for (const [method, url] of [...NEED, ...MAY]) {
  describe(`${method} ${url}`, () => {
    for (const [what, payload, code] of BODIES) {
      it(`answers ${what} with ${code}`, async () => {
        const control = aControl();
        const answer = await anApi(control).inject({ method, url, payload });
        expect(answer.statusCode).toBe(code);
        expect(answer.body).toMatch(/<p>[^<]{10,}<\/p>/);
        expectUntouched(control);
      });
    }
  });
}

describe('where an object with something in it is needed', () => {
  for (const [method, url] of NEED) {
    it(`${method} ${url} answers an empty one, and null, with 400, and nothing with 411`, async () => {
      const control = aControl();
      const codes = await Promise.all(
        ['{}', 'null', ' ', undefined].map(
          async (payload) =>
            (await anApi(control).inject({ method, url, ...(payload === undefined ? {} : { payload }) })).statusCode,
        ),
      );
      expect(codes).toEqual([400, 400, 400, 411]);
      expectUntouched(control);
    });
  }
});

it('a name that no object of JavaScript should be asked for harms nobody', async () => {
  const control = aControl();
  const payload = '{"__proto__":{"candidate":"c"},"leader":"a","constructor":1}';
  const answer = await anApi(control).inject({ method: 'POST', url: '/switchover', payload });
  expect(answer.statusCode).toBe(200);
  expect(control.asked.switchovers).toEqual([{ kind: 'switchover', leader: 'a', candidate: null, scheduledAt: null }]);
});

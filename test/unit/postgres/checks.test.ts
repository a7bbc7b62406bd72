import { describe, expect, test } from 'vitest';
import { ALIVE, answerIn, firstReply, isSignOfLife, startupMessage } from '../../../src/postgres/checks.ts';
import { TimeLimitError } from '../../../src/postgres/time-limit.ts';

const error = (code: string, message: string): Buffer => {
  const body = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E', 0);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
};

describe('the first reply to a ping', () => {
  test('is a living server, whether it asks for a password or refuses the user', () => {
    expect(firstReply(Buffer.from([0x52, 0, 0, 0, 8]))).toEqual({ kind: 'alive', inRecovery: null, said: null });
    expect(firstReply(error('28000', 'no such role'))).toEqual({
      kind: 'alive',
      inRecovery: null,
      said: 'no such role',
    });
  });

  test.each(['HTTP/1.1 400 Bad Request\r\n', 'SSH-2.0-OpenSSH_9.2', '\0'])('is no sign of a Postgres: %j', (text) => {
    expect(firstReply(Buffer.from(text))).toEqual({ kind: 'refused', said: 'what answers there is no Postgres' });
  });

  test('is a living server without room for another connection, with what it says', () => {
    const said = 'sorry, too many clients already';
    expect(firstReply(error('53300', said))).toEqual({ kind: 'full', said });
  });

  test('is a living server that takes no connections, with what it says', () => {
    expect(firstReply(error('57P03', 'the database system is starting up'))).toEqual({
      kind: 'not-ready',
      said: 'the database system is starting up',
    });
  });
});

test('a failed login says the same as a ping', () => {
  expect(answerIn({ code: '53300', message: 'too many' })).toEqual({ kind: 'full', said: 'too many' });
  expect(answerIn({ code: '57P03', message: 'shutting down' })).toEqual({ kind: 'not-ready', said: 'shutting down' });
  expect(answerIn(new TimeLimitError('no answer'))).toEqual({ kind: 'silent', said: 'no answer' });
});

test.each([
  ['ECONNREFUSED', 'refused'],
  ['ECONNRESET', 'refused'],
  ['EHOSTUNREACH', 'silent'],
  ['ETIMEDOUT', 'silent'],
])('%s is a server that is %s', (code, kind) => {
  expect(answerIn({ code, message: '' })).toEqual({ kind, said: code });
});

test('only an answer that it works is a sign of life', () => {
  const kinds = [
    { kind: 'full', said: '' },
    { kind: 'not-ready', said: '' },
    { kind: 'refused', said: '' },
    { kind: 'silent', said: '' },
  ] as const;
  expect([ALIVE, ...kinds].filter(isSignOfLife).map(({ kind }) => kind)).toEqual(['alive', 'full']);
});

test('the startup message is of protocol 3.0 and as long as it says', () => {
  const message = startupMessage('postgres', 'postgres');
  expect(message.readInt32BE(0)).toBe(message.length);
  expect(message.readInt32BE(4)).toBe(196_608);
  expect(message.subarray(-2)).toEqual(Buffer.from([0, 0]));
});

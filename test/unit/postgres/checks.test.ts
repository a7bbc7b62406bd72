import { describe, expect, test } from 'vitest';
import { answerIn, firstReply, startupMessage } from '../../../src/postgres/checks.ts';

const error = (code: string, message: string): Buffer => {
  const body = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E', 0);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
};

describe('the first reply to a ping', () => {
  test('is an accepting server, whether it asks for a password, refuses the user or has no room', () => {
    expect(firstReply(Buffer.from([0x52, 0, 0, 0, 8]))).toEqual({ kind: 'accepting' });
    expect(firstReply(error('28000', 'no such role'))).toEqual({ kind: 'accepting' });
    expect(firstReply(error('53300', 'sorry, too many clients already'))).toEqual({ kind: 'accepting' });
  });

  test('is a living server that takes no connections, with what it says', () => {
    expect(firstReply(error('57P03', 'the database system is starting up'))).toEqual({
      kind: 'rejecting',
      said: 'the database system is starting up',
    });
  });
});

test('a failed login says the same as a ping', () => {
  expect(answerIn({ code: '53300', message: 'too many' })).toEqual({ kind: 'accepting' });
  expect(answerIn({ code: '57P03', message: 'shutting down' })).toEqual({ kind: 'rejecting', said: 'shutting down' });
  expect(answerIn(new Error('no answer'))).toEqual({ kind: 'no-response', said: 'no answer' });
});

test('the startup message is of protocol 3.0 and as long as it says', () => {
  const message = startupMessage('postgres');
  expect(message.readInt32BE(0)).toBe(message.length);
  expect(message.readInt32BE(4)).toBe(196_608);
  expect(message.subarray(-2)).toEqual(Buffer.from([0, 0]));
});

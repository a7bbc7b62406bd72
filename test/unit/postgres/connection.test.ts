/** The held connection against a server that is only a socket. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { Connection } from '../../../src/postgres/connection.ts';
import { aConfig, aPlace } from './place-builder.ts';

const message = (type: string, body: Buffer = Buffer.alloc(0)): Buffer => {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
};
const READY = message('Z', Buffer.from('I'));

/** Welcomes everybody, and hands each simple query to `onQuery`. */
async function aServer(onQuery: (text: string, socket: Socket) => void) {
  const directory = mkdtempSync(join(tmpdir(), 'pgha-connection-'));
  const server = createServer((socket) => {
    let greeted = false;
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      if (!greeted) {
        greeted = true;
        socket.write(Buffer.concat([message('R', Buffer.alloc(4)), READY]));
        return;
      }
      for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
        if (bytes[at] === 0x51) onQuery(bytes.toString('utf8', at + 5, at + bytes.readInt32BE(at + 1)), socket);
      }
    });
  });
  server.listen(join(directory, '.s.PGSQL.5432'));
  await once(server, 'listening');
  return {
    endpoint: { socketDir: directory, tcpHost: '127.0.0.1', port: 5432 },
    close: () => {
      server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const done = (tag: string): Buffer => Buffer.concat([message('C', Buffer.from(`${tag}\0`)), READY]);

describe('statements on one connection', () => {
  it('go one after the other, however many are begun at once, and one that fails holds up none', async () => {
    const warnings: string[] = [];
    const warned = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', warned);
    let underWay = 0;
    const seen: string[] = [];
    const server = await aServer((text, socket) => {
      seen.push(`${text}, ${++underWay} under way`);
      setImmediate(() => {
        underWay--;
        const wrong = Buffer.from('SERROR\0C42601\0Mno\0\0');
        socket.write(text === 'b' ? Buffer.concat([message('E', wrong), READY]) : done('SELECT 0'));
      });
    });
    try {
      const limit = millis(5_000);
      const connection = await Connection.open(aPlace(aConfig()), server.endpoint, { limit, statementTimeout: limit });
      const all = await Promise.allSettled(['a', 'b', 'c', 'd'].map((text) => connection.start(text, [])));
      expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
      expect(seen).toEqual(['a', 'b', 'c', 'd'].map((text) => `${text}, 1 under way`));
      connection.close();
      await new Promise((resolve) => setImmediate(resolve));
      expect(warnings).toEqual([]);
    } finally {
      process.off('warning', warned);
      server.close();
    }
  });

  it('all end when the connection does, those that wait as well', async () => {
    const server = await aServer((_text, socket) => socket.destroy());
    try {
      const limit = millis(5_000);
      const connection = await Connection.open(aPlace(aConfig()), server.endpoint, { limit, statementTimeout: limit });
      const all = await Promise.allSettled(['a', 'b', 'c'].map((text) => connection.start(text, [])));
      expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    } finally {
      server.close();
    }
  });
});

/**
 * `pgha-ctl check` and its kin where something else stands at the addresses of a cluster: what says nothing, says anything, says
 * too much, or never ends. A finding in every case, in time, and nothing of it steers a terminal.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KEYS } from '../../src/core/cluster.ts';
import { instant, millis } from '../../src/core/time.ts';
import { basePath } from '../../src/etcd/keys.ts';
import { EtcdDcs } from '../../src/etcd/store.ts';
import { realOutside } from '../../src/http/ctl/outside.ts';
import { run } from '../../src/http/ctl/program.ts';
import { harmless, type Terminal } from '../../src/http/ctl/terminal.ts';
import { type EtcdServers, startEtcd } from './etcd-server.ts';

const ESCAPES = '\u001b[2J\u001b]0;owned\u0007\u009b31m';

type Manners = (socket: Socket) => void;

/** Says a part again and again, for as long as somebody listens. */
const endless =
  (head: string, part: Buffer): Manners =>
  (socket) => {
    const go = (): void => {
      while (socket.writable && socket.write(part));
      socket.once('drain', go);
    };
    socket.write(head);
    go();
  };
const says =
  (answer: string | Buffer): Manners =>
  (socket) => {
    socket.once('data', () => socket.end(answer));
  };
const http = (status: string, body: string, headers = ''): Manners =>
  says(`HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`);

const MANNERS: Readonly<Record<string, Manners>> = {
  'says nothing': () => undefined,
  'hangs up': (socket) => socket.destroy(),
  'greets as SSH does': (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'),
  'says anything, without an end': endless('', Buffer.alloc(65_536, 0xa7)),
  'says letters, without an end': endless('', Buffer.alloc(65_536, 'E')),
  'answers HTTP without an end': endless('HTTP/1.1 200 OK\r\n\r\n{"state":"', Buffer.alloc(65_536, 'x')),
  'answers HTTP with headers without an end': endless('HTTP/1.1 200 OK\r\n', Buffer.from('x: y\r\n'.repeat(1_000))),
  'answers 50 MB': says(
    Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n'), Buffer.alloc(50_000_000, '[')]),
  ),
  'answers what is no JSON': http('200 OK', '<html>'),
  'answers JSON of another kind': http('200 OK', '[1, null, {"state": {"a": 1}}]'),
  'answers with what steers a terminal': http('503 No', `{"state": "${ESCAPES}"}${ESCAPES}`, 'date: \u001b[2J\r\n'),
  'sends elsewhere': http('302 Found', '', 'location: http://127.0.0.1:1/\r\n'),
  'answers half of it': says('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{'),
  // As a Postgres that lets everybody in, and is then silent; AuthenticationOk, ReadyForQuery.
  'lets in and says no more': (socket) => {
    socket.once('data', () => {
      socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49]));
    });
  },
  // DataRow with a length that nobody sends.
  'lets in and begins a row of 1 GB': (socket) => {
    socket.once('data', () => {
      socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49]));
      socket.once('data', () => socket.write(Buffer.from([0x44, 0x40, 0, 0, 0, 0])));
    });
  },
  // ErrorResponse.
  'refuses with what steers a terminal': (socket) => {
    socket.once('data', () => {
      const text = Buffer.from(`SFATAL\0C28000\0M${ESCAPES}\0\0`);
      const head = Buffer.alloc(5);
      head.write('E');
      head.writeUInt32BE(text.length + 4, 1);
      socket.end(Buffer.concat([head, text]));
    });
  },
};

let etcd: EtcdServers;
let store: EtcdDcs;
let directory: string;
const servers: Server[] = [];
const sockets = new Set<Socket>();

beforeAll(async () => {
  etcd = await startEtcd({ members: 1 });
  directory = mkdtempSync(join(tmpdir(), 'pgha-answers-'));
  const clock = { now: () => instant(performance.now()) };
  const config = {
    endpoints: etcd.endpoints,
    srv: null,
    username: null,
    password: null,
    cacert: null,
    cert: null,
    key: null,
  };
  store = await EtcdDcs.open(config, basePath('/service', 'demo'), { clock, log: { write: () => undefined } });
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
  await store?.close();
  await etcd?.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function listen(manners: Manners): Promise<number> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    manners(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function putCluster(port: number): Promise<void> {
  const member = {
    conn_url: `postgres://127.0.0.1:${port}/postgres`,
    api_url: `http://127.0.0.1:${port}/patroni`,
    state: 'running',
    role: 'primary',
    version: '4.0.0',
    timeline: 1,
    xlog_location: 100,
    pgha: { version: 1, node_id: 1, priority: 100, location: 'default' },
  };
  const values: Readonly<Record<string, string>> = {
    [KEYS.initialize]: '7300000000000000000',
    [KEYS.leader]: 'a',
    [KEYS.config]: JSON.stringify({ ttl: 10, loop_wait: 2, retry_timeout: 3 }),
    'members/a': JSON.stringify(member),
  };
  const success = Object.entries(values).map(([key, value]) => ({ op: 'put', key, value, lease: null }) as const);
  expect(await store.txn({ compare: [], success, failure: [] }, millis(5_000))).toMatchObject({ kind: 'answered' });
}

const nodeFile = (port: number, etcdAt: string): string => {
  const path = join(directory, `${port}.yml`);
  writeFileSync(
    path,
    `scope: demo
name: b
etcd3: {hosts: ['${etcdAt}']}
restapi: {connect_address: '127.0.0.1:${port}'}
postgresql:
  data_dir: ${directory}/data
  listen: '127.0.0.1:${port}'
  connect_address: '127.0.0.1:${port}'
  authentication: {superuser: {username: postgres, password: secret}}
pgbouncer: {poolers: ['127.0.0.1:${port}'], username: pgbouncer, password: secret}
`,
  );
  return path;
};

interface Ran {
  readonly code: number;
  readonly said: string;
}

async function ctl(...args: string[]): Promise<Ran> {
  let said = '';
  const show = (text: string): void => {
    said += `${harmless(text)}\n`;
  };
  const terminal: Terminal = {
    interactive: true,
    keyboard: false,
    env: {},
    out: show,
    err: show,
    progress: () => undefined,
    clearScreen: () => undefined,
    ask: async () => null,
    askSecret: async () => null,
    readAll: async () => '',
    now: () => new Date(),
    zoneOffset: () => 0,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
  return { code: await run(args, realOutside(terminal)), said };
}

function expectHarmless({ said }: Ran): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  expect(said).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  expect(said).not.toMatch(/\n {4}at |undefined|\[object/);
  expect(said.length).toBeLessThan(10_000);
}

describe.each(Object.entries(MANNERS))('what stands at the addresses of the leader %s', (_what, manners) => {
  it('is told by every check, and nothing waits for it without an end', async () => {
    const port = await listen(manners);
    await putCluster(port);
    const file = nodeFile(port, etcd.endpoints[0]?.replace('http://', '') ?? '');
    const asked = (...words: string[]) => ctl('-c', file, ...words);
    const checks = await Promise.all([
      asked('check', 'network', '--timeout', '0.5'),
      asked('check', 'host', '--timeout', '0.5'),
      asked('check', 'clone', '--timeout', '0.5'),
      asked('check', 'replication', '--timeout', '0.5'),
      asked('adopt', 'check', '--from', 'streaming'),
      asked('version', 'demo', 'a'),
      asked('reinit', 'demo', 'a', '--dry-run'),
    ]);
    for (const ran of checks) expectHarmless(ran);
    const [network, , clone] = checks;
    expect(clone.code).toBe(1);
    expect(clone.said).toContain(`127.0.0.1:${port}`);
    expect(network.said).toContain(`127.0.0.1:${port}`);
    const nagios = await asked('check', 'clone', '--nagios', '--timeout', '0.5');
    expect(nagios).toMatchObject({ code: 3, said: expect.stringMatching(/^PGHA CLONE UNKNOWN - [^\n]*\n$/) });
  });

  it('as an etcd is one that does not answer', async () => {
    const port = await listen(manners);
    const file = nodeFile(port, `127.0.0.1:${port}`);
    const checks = await Promise.all([
      ctl('-c', file, 'check', 'etcd', 'demo', '--timeout', '0.5'),
      ctl('-c', file, 'check', 'network', '--timeout', '0.5'),
      ctl('-c', file, 'list'),
    ]);
    for (const ran of checks) {
      expectHarmless(ran);
      expect(ran.code).toBe(1);
    }
    expect(checks[0].said).toContain('0 of 1 endpoints answer');
  });
});

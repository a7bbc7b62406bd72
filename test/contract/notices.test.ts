/** event_webhook and event_syslog against real servers: good ones, and such as hang, refuse, babble or are not there. */
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NoticesConfig, SyslogConfig, WebhookConfig } from '../../src/config/schema.ts';
import type { ClusterEvent } from '../../src/core/cluster-events.ts';
import { millis } from '../../src/core/time.ts';
import { EventNotices } from '../../src/notices/notices.ts';
import { aConfig, aLog, realClock } from '../unit/postgres/place-builder.ts';

let log: ReturnType<typeof aLog>;
const ends: (() => void | Promise<void>)[] = [];

beforeEach(() => {
  log = aLog();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function noticesTo(given: Partial<NoticesConfig>, pauses = [millis(20), millis(20)]): EventNotices {
  const config = { ...aConfig(), notices: { webhook: null, syslog: null, ...given } };
  const parts = { clock: realClock, log, pauses };
  const notices = new EventNotices(() => config, parts);
  ends.push(() => notices.close(millis(0)));
  return notices;
}

const event = (over: Partial<ClusterEvent> = {}): ClusterEvent => ({
  time: '2026-11-20T14:08:00.000Z',
  node: 'pg1',
  nodeId: 1,
  event: 'fenced',
  ok: false,
  details: 'stopped: "no" proof',
  primary: null,
  ...over,
});

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 800; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`in vain: ${what}; the log: ${JSON.stringify(log.written)}`);
}

const said = (): readonly string[] => log.written.map(({ sentence }) => sentence);

describe('event_webhook', () => {
  interface Got {
    readonly headers: IncomingMessage['headers'];
    readonly body: string;
  }
  let got: Got[];

  async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
    got = [];
    const server: Server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8');
      request.on('data', (part) => {
        body += part;
      });
      request.on('end', () => {
        got.push({ headers: request.headers, body });
        answer(request, response);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ends.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret-path`;
  }

  const target = (url: string, over: Partial<WebhookConfig> = {}): WebhookConfig => ({
    url,
    headers: {},
    authorization: null,
    events: null,
    timeout: millis(5_000),
    template: null,
    cacert: null,
    ...over,
  });
  const webhook = (url: string, over: Partial<WebhookConfig> = {}): EventNotices =>
    noticesTo({ webhook: target(url, over) });

  it('is told each event as JSON, with a text for chat programs and the headers of the configuration', async () => {
    const url = await listen((_request, response) => response.end('ok'));
    const notices = webhook(url, { headers: { 'x-from': 'us' }, authorization: 'Bearer abc' });
    notices.tell(event());
    notices.tell(event({ event: 'standby_promote', ok: true, primary: { id: 2, name: 'pg2', conninfo: null } }));
    await until('both were told', () => got.length === 2);
    expect(got[0]?.headers).toMatchObject({
      'x-from': 'us',
      authorization: 'Bearer abc',
      'content-type': 'application/json',
    });
    expect(JSON.parse(got[0]?.body ?? '')).toEqual({
      text: '[demo] pg1: fenced (trouble): stopped: "no" proof',
      scope: 'demo',
      time: '2026-11-20T14:08:00.000Z',
      node: 'pg1',
      node_id: 1,
      event: 'fenced',
      ok: false,
      details: 'stopped: "no" proof',
    });
    expect(JSON.parse(got[1]?.body ?? '')).toMatchObject({ ok: true, primary: { id: 2, name: 'pg2' } });
    expect(said()).toEqual([]);
  });

  it('gets a body of the operator own making, which no detail can break out of', async () => {
    const url = await listen((_request, response) => response.end());
    const notices = webhook(url, { template: '{"content": "%N of %o: %d", "ok": %s, "rest": "100 %%"}' });
    notices.tell(event({ details: '", "admin": "yes\\' }));
    await until('it was told', () => got.length === 1);
    expect(JSON.parse(got[0]?.body ?? '')).toEqual({
      content: 'pg1 of demo: ", "admin": "yes\\',
      ok: 0,
      rest: '100 %',
    });
  });

  it('hears of the events that are wanted only', async () => {
    const url = await listen((_request, response) => response.end());
    const notices = webhook(url, { events: ['standby_promote'] });
    notices.tell(event());
    notices.tell(event({ event: 'standby_promote' }));
    await until('one was told', () => got.length === 1);
    expect(JSON.parse(got[0]?.body ?? '')).toMatchObject({ event: 'standby_promote' });
  });

  it('that is out of order for a moment is asked again', async () => {
    let asked = 0;
    const url = await listen((_request, response) => {
      response.statusCode = ++asked < 3 ? 500 : 204;
      response.end();
    });
    webhook(url).tell(event());
    await until('it was told at the third time', () => asked === 3);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(asked).toBe(3);
    expect(said()).toEqual([]);
  });

  it('that answers 500 is told of once, and again when it works, with what was lost', async () => {
    let well = false;
    const url = await listen((_request, response) => {
      response.statusCode = well ? 200 : 500;
      response.end(`\u001b[31mout of order\n${'x'.repeat(100_000)}`);
    });
    const notices = webhook(url);
    for (let i = 0; i < 4; i++) notices.tell(event());
    // Three tries of the first, one of each other.
    await until('all were tried', () => got.length === 6);
    well = true;
    notices.tell(event());
    await until('it works again', () => log.written.length === 2);
    expect(said()).toEqual([
      'event_webhook: the server answered 500: ?[31mout of order',
      'event_webhook works again; 4 events were not told',
    ]);
  });

  it('that refuses the request is not asked the same again', async () => {
    const url = await listen((_request, response) => {
      response.statusCode = 403;
      response.end('no_service');
    });
    webhook(url).tell(event());
    await until('it was said', () => log.written.length === 1);
    expect(got).toHaveLength(1);
    expect(said()).toEqual(['event_webhook: the server answered 403: no_service']);
  });

  it.each([
    ['hangs', (_response: ServerResponse) => undefined, /no whole answer within 0.2 s/],
    ['babbles', (response: ServerResponse) => response.socket?.end('SSH-2.0-babble\r\n\r\n'), /is not HTTP/],
    ['hangs up', (response: ServerResponse) => response.socket?.destroy(), /could not be reached \(ECONNRESET\)/],
    [
      'sends its refusal without an end',
      (response: ServerResponse) => {
        response.statusCode = 503;
        response.write('wait');
      },
      /no whole answer within 0.2 s/,
    ],
  ])('that %s is given up in time, without its address in the log', async (_what, answer, why) => {
    const url = await listen((_request, response) => void answer(response));
    webhook(url, { timeout: millis(200) }).tell(event());
    await until('it was said', () => log.written.length === 1);
    expect(got).toHaveLength(3);
    expect(said()[0]).toMatch(why);
    expect(said()[0]).not.toContain('secret-path');
  });

  it('whose authority stands on a disk that hangs stops nobody, and is told again once it can be read', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-webhook-'));
    ends.push(() => rmSync(directory, { recursive: true, force: true }));
    const cacert = join(directory, 'ca');
    execFileSync('mkfifo', [cacert]);
    const url = await listen((_request, response) => response.end());
    const notices = noticesTo({ webhook: target(url, { cacert }) }, []);
    for (let i = 0; i < 3; i++) notices.tell(event());
    await until('it was said', () => log.written.length === 1);
    expect(said()).toEqual(['event_webhook: cacert could not be read (reading it: no answer within 2000 ms)']);
    // Whoever has not begun to read finds a file; a second reader of the pipe would wait for ever.
    execFileSync('sh', ['-c', 'exec 3> "$0"; : > "$0.new"; mv "$0.new" "$0"', cacert]);
    await until('the others were told', () => got.length === 2);
    expect(said()[1]).toBe('event_webhook works again; an event was not told');
  });

  it('over TLS is told only with a certificate of the authority that is configured', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-webhook-'));
    ends.push(() => rmSync(directory, { recursive: true, force: true }));
    const [key, certificate] = [join(directory, 'key'), join(directory, 'cert')];
    const subject = ['-subj', '/CN=webhook', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
    const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
    execFileSync('openssl', ['req', '-x509', ...made, '-out', certificate, ...subject], { stdio: 'ignore' });
    let told = 0;
    const server = createTlsServer(
      { key: readFileSync(key), cert: readFileSync(certificate) },
      (_request, response) => {
        told += 1;
        response.end();
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ends.push(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    webhook(url).tell(event());
    await until('it was said', () => log.written.length === 1);
    expect(said()[0]).toMatch(/could not be reached \((DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN)\)/);
    expect(told).toBe(0);
    webhook(url, { cacert: certificate }).tell(event());
    await until('it was told', () => told === 1);
    webhook(url, { cacert: join(directory, 'nobody') }).tell(event());
    await until('that is said too', () => log.written.length === 2);
    expect(said()[1]).toBe('event_webhook: cacert could not be read (ENOENT)');
  });

  it('that is not there makes nobody wait, however many events come, and is not waited for at the end', async () => {
    const url = await listen(() => undefined);
    const notices = webhook(url, { timeout: millis(60_000) });
    for (let i = 0; i < 1_000; i++) notices.tell(event());
    expect(said()).toEqual(['event_webhook: it is too slow: the oldest events that wait for it are dropped']);
    await until('one is under way', () => got.length === 1);
    await notices.close(millis(50));
    notices.tell(event());
    expect(got).toHaveLength(1);
  });
});

describe('event_syslog', () => {
  const syslog = (to: SyslogConfig['to'], over: Partial<SyslogConfig> = {}): EventNotices =>
    noticesTo({ syslog: { to, facility: 'daemon', events: null, ...over } });
  const HEAD = /^<28>1 2026-11-20T14:08:00.000Z \S+ pgha \d+ fenced \[pgha@32473 /;

  it('gets one datagram in RFC 5424 an event', async () => {
    const got: string[] = [];
    const server = createSocket('udp4', (message) => got.push(message.toString()));
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    ends.push(() => void server.close());
    const notices = syslog({ kind: 'udp', host: '127.0.0.1', port: server.address().port });
    notices.tell(event({ details: 'a "b" ] \\ ü' }));
    await until('it came', () => got.length === 1);
    expect(got[0]).toMatch(HEAD);
    expect(got[0]).toContain('[pgha@32473 scope="demo" node="pg1" node_id="1" event="fenced" ok="0"] \ufeff');
    expect(got[0]).toMatch(/\ufeffpg1 of demo: fenced: a "b" \] \\ ü$/);
  });

  it('gets them over TCP with their length before them, and is tried again when it was away', async () => {
    let got = '';
    const server: TcpServer = createTcpServer((socket) => {
      socket.setEncoding('utf8');
      socket.on('data', (part) => {
        got += part;
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    ends.push(() => void server.close());
    const notices = syslog({ kind: 'tcp', host: '127.0.0.1', port }, { facility: 'local3' });
    notices.tell(event({ details: 'ü' }));
    notices.tell(event({ ok: true }));
    await until('both came', () => /stopped/.test(got));
    const [, length = '', rest = ''] = /^(\d+) (.*)$/s.exec(got) ?? [];
    const first = Buffer.from(rest).subarray(0, Number(length)).toString();
    expect(first).toMatch(/^<156>1 .*: ü$/);
    expect(got.endsWith('pg1 of demo: fenced: stopped: "no" proof')).toBe(true);

    server.close();
    await until('it is gone', () => !server.listening);
    notices.tell(event());
    await until('it was said', () => log.written.length === 1);
    expect(said()).toEqual(['event_syslog: the server could not be reached (ECONNREFUSED)']);
  });

  it('of this machine gets a line at its socket; none there is told of', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-syslog-'));
    ends.push(() => rmSync(directory, { recursive: true, force: true }));
    const path = join(directory, 'log');
    let got = '';
    let ready = false;
    // Node.js has no such sockets; Debian's perl-base is everywhere.
    const perl = `use Socket; $| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0); bind(S, pack_sockaddr_un($ARGV[0])) or die;
      print "ready\\n"; while (defined recv(S, $m, 4096, 0)) { print "$m\\n" }`;
    const listener = spawn('perl', ['-e', perl, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    ends.push(() => void listener.kill('SIGKILL'));
    listener.stdout.setEncoding('utf8');
    listener.stdout.on('data', (part: string) => {
      got += part;
      ready ||= got.includes('ready');
    });
    await until('it listens', () => ready);
    const notices = syslog({ kind: 'socket', path });
    notices.tell(event({ details: '-- $(touch /tmp/x) `y`' }));
    await until('it came', () => got.includes('pg1'));
    expect(got).toMatch(/<28>.* pgha\[\d+\]: pg1 of demo: fenced: -- \$\(touch \/tmp\/x\) `y`/);

    const nowhere = syslog({ kind: 'socket', path: join(directory, 'nobody') });
    nowhere.tell(event());
    await until('it was said', () => log.written.length === 1);
    expect(said()[0]).toMatch(/^event_syslog: logger: .*nobody/);
  });
});

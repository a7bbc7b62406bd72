import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CtlConfig } from '../../../src/config/schema.ts';
import { lsn, timeline } from '../../../src/core/lsn.ts';
import { instant, millis, wallTime } from '../../../src/core/time.ts';
import { type HttpServer, startHttp } from '../../../src/http/server.ts';
import { type HttpPeers, openPeers } from '../../../src/peers/http.ts';
import { aConfig, aControl, silentLog } from './builders.ts';

const LIMIT = millis(2_000);
let directory: string;
let server: HttpServer;
const opened: HttpPeers[] = [];
const at = (name: string): string => join(directory, name);

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: directory, stdio: 'ignore' });
}

/** `name.pem` with its key in `name.key`; signed by `ca`, or by itself. */
function certificate(name: string, ca: string | null): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`];
  if (ca === null) {
    openssl('req', '-x509', ...key, '-out', `${name}.pem`, '-days', '2', '-subj', `/CN=${name}`);
    return;
  }
  openssl('req', ...key, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
  openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    `${ca}.pem`,
    '-CAkey',
    `${ca}.key`,
    '-CAcreateserial',
    '-out',
    `${name}.pem`,
    '-days',
    '2',
  );
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-tls-'));
  certificate('ca', null);
  certificate('stranger', null);
  for (const name of ['node', 'renewed', 'client']) certificate(name, 'ca');
  for (const end of ['pem', 'key']) copyFileSync(at(`node.${end}`), at(`live.${end}`));
  const config = aConfig();
  const files = { certfile: at('live.pem'), keyfile: at('live.key'), keyfilePassword: null, cafile: at('ca.pem') };
  server = await startHttp({
    config: { ...config, restapi: { ...config.restapi, tls: { ...files, verifyClient: 'optional' } } },
    control: aControl({ readWal: async (_tl, start) => ({ start, bytes: Buffer.from('12345678') }) }),
    log: silentLog,
    version: '0.1.0',
  });
});

afterAll(async () => {
  for (const peers of opened) peers.close();
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

async function peersWith(over: Partial<CtlConfig>): Promise<HttpPeers> {
  const { ctl, restapi } = aConfig();
  const clock = {
    now: () => instant(0),
    wall: () => wallTime(0),
    suspendedFor: () => millis(0),
    timer: () => () => {},
    sleep: async () => {},
  };
  const peers = await openPeers({ ctl: { ...ctl, ...over }, restapi, clock, own: { apiUrl: null, connUrl: null } });
  opened.push(peers);
  return peers;
}
const peer = (): { name: string; apiUrl: string } => ({
  name: 'b',
  apiUrl: `https://127.0.0.1:${server.address.port}/patroni`,
});

/** Common name of the certificate that a new connection is shown. */
function shownName(): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port: server.address.port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

describe('over TLS', () => {
  it('a member is asked whose certificate our authority signed, and one without an authority to check against', async () => {
    expect((await (await peersWith({ cacert: at('ca.pem') })).ask(peer(), LIMIT)).kind).toBe('answered');
    expect((await (await peersWith({})).ask(peer(), LIMIT)).kind).toBe('answered');
    expect((await (await peersWith({ cacert: at('stranger.pem'), insecure: true })).ask(peer(), LIMIT)).kind).toBe(
      'answered',
    );
  });

  it('a member with a certificate of somebody else is silent', async () => {
    expect((await (await peersWith({ cacert: at('stranger.pem') })).ask(peer(), LIMIT)).kind).toBe('silent');
  });

  it('WAL is handed out to a verified client only', async () => {
    const ask = (peers: HttpPeers): ReturnType<HttpPeers['fetchWal']> =>
      peers.fetchWal(peer(), timeline(1), lsn(0), lsn(8), LIMIT);
    expect(await ask(await peersWith({}))).toBeNull();
    expect(await ask(await peersWith({ certfile: at('stranger.pem'), keyfile: at('stranger.key') }))).toBeNull();
    expect(await ask(await peersWith({ certfile: at('client.pem'), keyfile: at('client.key') }))).not.toBeNull();
  });

  it('certificates are read anew without a restart', async () => {
    expect(await shownName()).toBe('node');
    for (const end of ['pem', 'key']) writeFileSync(at(`live.${end}`), readFileSync(at(`renewed.${end}`)));
    await server.reloadCertificates();
    expect(await shownName()).toBe('renewed');
  });
});

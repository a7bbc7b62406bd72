import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpServer, startHttp } from '../../../src/http/server.ts';
import { PGHA_VERSION } from '../../../src/version.ts';
import { aConfig, aControl, aLeader, silentLog } from './builders.ts';

let server: HttpServer;

beforeAll(async () => {
  const control = aControl({ state: aLeader(), canWrite: true });
  server = await startHttp({ config: aConfig(), control, log: silentLog, version: PGHA_VERSION });
});

afterAll(() => server.close());

/** What comes back for these exact bytes, until the other side closes. */
function raw(request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(server.address.port, '127.0.0.1');
    let answer = '';
    socket.setTimeout(2_000, () => socket.destroy(new Error(`no answer to ${request}`)));
    socket.on('data', (part) => {
      answer += part.toString();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
    socket.write(request);
  });
}

const status = (answer: string): number => Number(/^HTTP\/1\.[01] (\d+)/.exec(answer)?.[1]);

describe('clients that speak as little HTTP as they can', () => {
  const REQUESTS: readonly (readonly [string, number])[] = [
    // HAProxy's default check.
    ['OPTIONS / HTTP/1.0\r\n\r\n', 200],
    ['GET /primary HTTP/1.0\r\n\r\n', 200],
    ['HEAD /replica HTTP/1.0\r\n\r\n', 503],
    ['GET /replica HTTP/1.1\r\nConnection: close\r\n\r\n', 503],
    ['OPTIONS http://10.0.0.1:8008/primary HTTP/1.0\r\n\r\n', 200],
    ['GET http://10.0.0.1:8008/liveness HTTP/1.0\r\n\r\n', 200],
    ['GET //primary HTTP/1.0\r\n\r\n', 200],
    ['GET //patroni HTTP/1.0\r\n\r\n', 200],
    ['GET /%zz HTTP/1.0\r\n\r\n', 503],
    ['POST /restart HTTP/1.0\r\n\r\n', 200],
    ['POST /switchover HTTP/1.0\r\n\r\n', 411],
    ['POST /reload HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}', 202],
    ['PROPFIND / HTTP/1.0\r\n\r\n', 501],
    ['NONSENSE / HTTP/1.0\r\n\r\n', 501],
    ['this is not HTTP\r\n\r\n', 501],
  ];
  for (const [request, expected] of REQUESTS) {
    it(`${JSON.stringify(request)} is answered with ${expected}`, async () => {
      expect(status(await raw(request))).toBe(expected);
    });
  }
});

describe('the listening socket', () => {
  it('is free again after close, also with a connection that stays open', async () => {
    const config = aConfig();
    const first = await startHttp({ config, control: aControl(), log: silentLog, version: PGHA_VERSION });
    const { port } = first.address;
    const idle = net.connect(port, '127.0.0.1');
    await new Promise((resolve) => idle.once('connect', resolve));
    idle.on('error', () => {});
    await first.close();
    const again = aConfig({ restapi: { ...config.restapi, listen: { host: '127.0.0.1', port } } });
    const second = await startHttp({ config: again, control: aControl(), log: silentLog, version: PGHA_VERSION });
    expect(second.address.port).toBe(port);
    await second.close();
    idle.destroy();
  });

  it('is waited for while another process is about to give the port back', async () => {
    const holder = net.createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as net.AddressInfo;
    const config = aConfig({ restapi: { ...aConfig().restapi, listen: { host: '127.0.0.1', port } } });
    const started = startHttp({ config, control: aControl(), log: silentLog, version: PGHA_VERSION });
    await new Promise((resolve) => setTimeout(resolve, 60));
    holder.close();
    const got = await started;
    expect(got.address.port).toBe(port);
    await got.close();
  });
});

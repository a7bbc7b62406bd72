/** The real store and the real REST API for a run of pgha-ctl, loaded only when a command needs them. */
import { type Instant, instant } from '../../core/time.ts';
import type { Outside } from './session.ts';
import type { Terminal } from './terminal.ts';

const MOST_BYTES = 16 * 1024 * 1024;

export function realOutside(terminal: Terminal): Outside {
  return {
    terminal,
    async openStore(context, scope) {
      const [{ EtcdDcs }, { basePath }] = await Promise.all([
        import('../../etcd/store.ts'),
        import('../../etcd/keys.ts'),
      ]);
      const clock = { now: (): Instant => instant(performance.now()) };
      return await EtcdDcs.open(context.etcd, basePath(context.namespace, scope), { clock, log: { write: () => {} } });
    },
    examine: {
      etcd: async ({ etcd }, limit) => (await import('../../etcd/examine.ts')).examineEtcd(etcd, limit),
      reach: async (host, port, limit) => (await import('../../system/host.ts')).reach(host, port, limit),
      host: async (question) => (await import('../../system/host.ts')).examineHost(question),
      freeBytes: async (directory) => (await import('../../postgres/free-space.ts')).freeBytes(directory),
    },
    runSql: async (target, statement) => (await import('./sql.ts')).runSql(target, statement),
    async openApi(context) {
      const [{ HttpClient }, { readTrust }] = await Promise.all([
        import('../../peers/request.ts'),
        import('../../peers/http.ts'),
      ]);
      const client = new HttpClient(context.ctl.authentication, await readTrust(context.ctl));
      return {
        async call(apiUrl, method, path, body, limit) {
          const answer = await client.send({
            method,
            url: new URL(path, apiUrl).href,
            limit,
            mostBytes: MOST_BYTES,
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          });
          return { status: answer.status, text: answer.body.toString('utf8'), headers: answer.headers };
        },
        close: () => client.close(),
      };
    },
  };
}

/** The real store and the real REST API for a run of pgha-ctl, loaded only when a command needs them. */
import { realpathSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { type Instant, instant } from '../../core/time.ts';
import { familyOf, postmasterOf, signalProcess } from '../../postgres/family.ts';
import { ASKED_BY } from '../audit.ts';
import type { Outside } from './session.ts';
import { Refusal, type Terminal } from './terminal.ts';

const MOST_BYTES = 16 * 1024 * 1024;

/** Who typed it is told too where sudo says so. */
function operatorHere(env: Terminal['env']): string {
  let user: string;
  try {
    user = userInfo().username;
  } catch {
    user = `uid ${process.getuid?.() ?? '?'}`;
  }
  const typed = env['SUDO_USER'];
  return `${typed === undefined || typed === '' || typed === user ? user : `${typed} as ${user}`}@${hostname()}`;
}

export function realOutside(terminal: Terminal): Outside {
  const operator = operatorHere(terminal.env);
  return {
    terminal,
    operator,
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
      pooler: async (login, address, limit) => {
        const [{ examinePooler }, { SystemClock }] = await Promise.all([
          import('../../pgbouncer/examine.ts'),
          import('../../system/clock.ts'),
        ]);
        return await examinePooler(new SystemClock(), login, address, limit);
      },
      host: async (question) => (await import('../../system/host.ts')).examineHost(question),
      freeBytes: async (directory) => (await import('../../postgres/free-space.ts')).freeBytes(directory),
    },
    killPostmaster(dataDir) {
      const postmaster = postmasterOf(familyOf({ dataDir: realpathSync(dataDir) }));
      if (postmaster === null) throw new Refusal(`no Postgres runs on ${dataDir} here. Nothing was done.`);
      if (!signalProcess(postmaster, 'SIGKILL'))
        throw new Refusal(`process ${postmaster.pid} could not be ended: run this as the user of Postgres.`);
    },
    runSql: async (target, statement, limitMs) => (await import('./sql.ts')).runSql(target, statement, limitMs),
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
            // A header takes no other letters.
            headers: { [ASKED_BY]: operator.replace(/[^\x20-\x7e]/g, '?') },
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

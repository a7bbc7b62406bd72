/** pgha-ctl without a terminal, an etcd or a network. */
import type { KeyValue, Txn } from '../../../src/core/store.ts';
import { leaseId, revision } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import { run } from '../../../src/http/ctl/program.ts';
import type { ApiAnswer, Examine, Outside } from '../../../src/http/ctl/session.ts';
import type { SqlTarget } from '../../../src/http/ctl/sql.ts';
import type { Rows } from '../../../src/http/ctl/table.ts';
import { harmless, Refusal, type Terminal } from '../../../src/http/ctl/terminal.ts';
import type { Keys } from '../http/builders.ts';

export interface Call {
  readonly url: string;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

export interface World {
  /** Keys of each cluster: values of objects are JSON. */
  readonly clusters: { [scope: string]: Keys };
  /** What a member answers; throwing is silence. */
  api?: (call: Call) => { status: number; text: string; headers?: ApiAnswer['headers'] };
  /** What Postgres answers. */
  sql?: (target: SqlTarget, statement: string) => Rows;
  /** What a check sees. */
  readonly examine?: Partial<Examine>;
  /** Lines typed; then the input ends. */
  readonly typed?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly interactive?: boolean;
  /** The Postgres of this machine is killed. */
  kill?: (dataDir: string) => void;
  /** etcd does not answer now. */
  etcdIsAway?: () => boolean;
  /** etcd takes nothing that is kept for people. */
  readonly chronicleRefuses?: true;
}

const IN_CHRONICLE = /^pgha\/(events\/|lag$|audit$)/;

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly calls: readonly Call[];
  readonly txns: readonly Txn[];
  readonly asked: readonly string[];
  readonly sql: readonly { readonly target: SqlTarget; readonly statement: string }[];
}

const CONFIG_ENV = { PGHA_ETCD3_HOSTS: '10.0.0.9:2379', PGHA_SCOPE: 'demo', PGHA_CTL_CONFIG_FILE: '/dev/null' };

/** Runs one command line and tells what it printed, asked and did. */
export async function ctl(world: World, ...args: string[]): Promise<Ran> {
  const out: string[] = [];
  const err: string[] = [];
  const calls: Call[] = [];
  const txns: Txn[] = [];
  const asked: string[] = [];
  const sql: { target: SqlTarget; statement: string }[] = [];
  const typed = [...(world.typed ?? [])];
  let now = Date.UTC(2026, 10, 20, 10, 44);
  const terminal: Terminal = {
    interactive: world.interactive === true,
    keyboard: world.interactive === true,
    env: { ...CONFIG_ENV, ...world.env },
    out: (text) => void out.push(world.interactive === true ? harmless(text) : text),
    err: (text) => void err.push(harmless(text)),
    clearScreen: () => undefined,
    progress: () => {},
    ask: async (question) => {
      asked.push(question);
      return typed.shift() ?? null;
    },
    askSecret: async (question) => {
      asked.push(question);
      return typed.shift() ?? null;
    },
    readAll: async () => typed.join('\n'),
    now: () => new Date(now),
    // An hour east of Greenwich.
    zoneOffset: () => -60,
    sleep: async (ms) => {
      now += ms;
    },
  };
  const outside: Outside = {
    terminal,
    operator: 'alice@db1',
    openStore: async (_context, scope) => ({
      read: async () => {
        if (world.etcdIsAway?.() === true) return { kind: 'unanswered', cause: 'no answer in time' };
        return {
          kind: 'answered',
          header: { clusterId: '1', raftTerm: 1n, revision: revision(99) },
          entries: entriesOf(world.clusters[scope] ?? {}).filter(({ key }) => !IN_CHRONICLE.test(key)),
        };
      },
      txn: async (txn) => {
        txns.push(txn);
        const keys = world.clusters[scope] ?? {};
        for (const op of txn.success) {
          if (op.op === 'delete') delete keys[op.key];
          if (op.op === 'put') keys[op.key] = op.value;
        }
        return {
          kind: 'answered',
          header: { clusterId: '1', raftTerm: 1n, revision: revision(100) },
          succeeded: true,
          found: new Map(),
        };
      },
      chronicle: {
        read: async () => ({
          kind: 'answered',
          entries: entriesOf(world.clusters[scope] ?? {})
            .filter(({ key }) => IN_CHRONICLE.test(key))
            .map((entry) => ({ ...entry, key: entry.key.slice('pgha/'.length) })),
        }),
        put: async (key, value) => {
          if (world.chronicleRefuses === true) return { kind: 'unknown', cause: 'no answer' };
          (world.clusters[scope] ?? {})[`pgha/${key}`] = value;
          return { kind: 'applied', revision: revision(101) };
        },
      },
      close: async () => {},
    }),
    examine: {
      etcd: async () => ({ endpoints: [], members: null, alarms: null }),
      reach: async () => ({ kind: 'open', ms: millis(1) }),
      pooler: async () => ({ kind: 'silent', said: 'no answer' }),
      host: async () => {
        throw new Error('no host');
      },
      freeBytes: async () => null,
      ...world.examine,
    },
    killPostmaster: (dataDir) => {
      if (world.kill === undefined) throw new Refusal(`no Postgres runs on ${dataDir} here. Nothing was done.`);
      world.kill(dataDir);
    },
    runSql: async (target, statement) => {
      sql.push({ target, statement });
      if (world.sql === undefined) throw new Refusal('connect ECONNREFUSED');
      return world.sql(target, statement);
    },
    openApi: async () => ({
      call: async (url, method, path, body) => {
        const call = { url, method, path, body };
        calls.push(call);
        if (world.api === undefined) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
        const answer = world.api(call);
        return { headers: {}, ...answer };
      },
      close: () => {},
    }),
  };
  const code = await run(args, outside);
  return { code, out: out.join('\n'), err: err.join('\n'), calls, txns, asked, sql };
}

function entriesOf(keys: Keys): KeyValue[] {
  return Object.entries(keys).map(([key, value], index) => ({
    key,
    value: typeof value === 'string' ? value : JSON.stringify(value),
    createRevision: revision(index + 1),
    modRevision: revision(index + 1),
    lease: leaseId('1'),
  }));
}

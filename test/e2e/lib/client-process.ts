/**
 * A client of the cluster, in a process of its own so that it can stand in another network namespace and so that
 * nothing the test does delays it: writes rows and books their fate, watches on every node whether a write is
 * accepted, polls health checks. It takes its orders from the test over Node's IPC and ends with it. It decides
 * nothing; ledger.ts judges.
 */
import { request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import pg from 'pg';
import type {
  CommitReport,
  HttpAnswer,
  LoadReport,
  OrderName,
  Orders,
  Poll,
  ReaderReport,
  Server,
} from './client-messages.ts';
import type { Accepted, Acknowledgement, WriterReport } from './ledger.ts';
import { monotonic, sleep } from './time.ts';

const CONNECT_LIMIT_MS = 300;
const ANSWER_LIMIT_MS = 2_000;

/** A connection that never throws behind our back and can be dropped at once. */
class Session {
  readonly client: pg.Client;
  broken = false;

  constructor(server: Server, name: string, connectMs = CONNECT_LIMIT_MS) {
    this.client = new pg.Client({
      host: server.host,
      port: server.port,
      user: server.user,
      password: server.password,
      database: server.database,
      application_name: name,
      connectionTimeoutMillis: connectMs,
      keepAlive: false,
    });
    this.client.on('error', () => {
      this.broken = true;
    });
    this.client.on('end', () => {
      this.broken = true;
    });
  }

  async rows(text: string, values: unknown[] = [], limitMs = ANSWER_LIMIT_MS): Promise<Record<string, unknown>[]> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.drop();
        reject(new Error(`no answer within ${limitMs} ms`));
      }, limitMs);
    });
    try {
      const result = await Promise.race([this.client.query<Record<string, unknown>>(text, values), limit]);
      return result.rows;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the connection without a word: the peer may be dead, and a farewell would wait for it. */
  drop(): void {
    this.broken = true;
    (this.client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}

async function connect(server: Server, name: string, connectMs = CONNECT_LIMIT_MS): Promise<Session | null> {
  const session = new Session(server, name, connectMs);
  try {
    await session.client.connect();
    return session;
  } catch {
    session.drop();
    return null;
  }
}

/** Rows of one writer are told from those of the next by its name. */
let writers = 0;

class Writer {
  private readonly acked: Acknowledgement[] = [];
  private readonly failed: string[] = [];
  private readonly unknown: string[] = [];
  private readonly errors: { at: number; text: string }[] = [];
  private readonly sessions: Promise<void>[];
  private readonly order: Orders['writer-start']['order'];
  private readonly name = `w${process.pid}x${writers++}`;
  private stopping = false;

  constructor(order: Orders['writer-start']['order']) {
    this.order = order;
    this.sessions = Array.from({ length: order.sessions }, (_, n) => this.session(n));
  }

  count(): number {
    return this.acked.length;
  }

  report(): WriterReport {
    return { acked: this.acked, failed: this.failed, unknown: this.unknown, errors: this.errors };
  }

  async stop(): Promise<WriterReport> {
    this.stopping = true;
    await Promise.all(this.sessions);
    return this.report();
  }

  private async session(n: number): Promise<void> {
    let seq = 0;
    const payload = 'x'.repeat(this.order.payloadBytes);
    while (!this.stopping) {
      const found = await this.findWritable();
      if (found === null) continue;
      const [server, session] = found;
      while (!this.stopping && !session.broken) {
        const row = `${this.name}-${n}-${seq++}`;
        try {
          await session.rows('insert into e2e_ledger (row, payload) values ($1, $2)', [row, payload]);
          this.acked.push({ row, at: monotonic(), server: server.name });
        } catch (error) {
          // An ERROR means that the statement was rolled back. FATAL may come while the commit is already durable
          // (a stop during the wait for a synchronous standby), so there nobody knows.
          const refused = (error as { severity?: string }).severity === 'ERROR';
          (refused ? this.failed : this.unknown).push(row);
          if (this.errors.length < 1_000)
            this.errors.push({ at: monotonic(), text: `${server.name}: ${String(error)}` });
          break;
        }
        await sleep(this.order.everyMs);
      }
      session.drop();
    }
  }

  /** All servers are asked at the same time; the first that is out of recovery wins, the other sessions are dropped. */
  private async findWritable(): Promise<[Server, Session] | null> {
    let winner: [Server, Session] | null = null;
    const done = (): boolean => this.stopping || winner !== null;
    await Promise.race(
      this.order.servers.map(async (server) => {
        while (!done()) {
          const session = await connect(server, this.name);
          if (session === null) {
            await sleep(10);
            continue;
          }
          // A session on a standby is kept and asked again: it becomes writable without a new connection.
          while (!done() && !session.broken) {
            const rows = await session.rows('select pg_is_in_recovery() as standby', [], 500).catch(() => null);
            if (rows === null) break;
            if (rows[0]?.['standby'] === false && !done()) {
              winner = [server, session];
              return;
            }
            await sleep(5);
          }
          session.drop();
          await sleep(5);
        }
      }),
    );
    return winner;
  }
}

/** Reads on one node, whatever that is at the moment. */
class Reader {
  private readonly rows = new Set<string>();
  private answers = 0;
  private stopping = false;
  private readonly done: Promise<void>;
  private readonly order: Orders['reader-start']['order'];

  constructor(order: Orders['reader-start']['order']) {
    this.order = order;
    this.done = this.read();
  }

  async stop(): Promise<ReaderReport> {
    this.stopping = true;
    await this.done;
    return { answers: this.answers, rows: [...this.rows] };
  }

  private async read(): Promise<void> {
    const { server, newest, everyMs } = this.order;
    while (!this.stopping) {
      const session = await connect(server, 'reader');
      try {
        while (session !== null && !this.stopping && !session.broken) {
          for (const { row } of await session.rows(newest)) this.rows.add(String(row));
          this.answers += 1;
          await sleep(everyMs);
        }
      } catch {
        // Not there, frozen, or ended: then there is nothing to be read.
      }
      session?.drop();
      await sleep(everyMs);
    }
  }
}

/** Tries on every node, over its unix socket, whether a write is accepted: no cut link hides a second writer. */
class Watcher {
  readonly accepted: Accepted[] = [];
  private readonly everyMs: number;

  constructor(order: Orders['watcher-start']['order']) {
    this.everyMs = order.everyMs;
    for (const server of order.servers) void this.watch(server);
  }

  private async watch(server: Server): Promise<never> {
    for (;;) {
      const session = await connect(server, 'watcher');
      if (session === null) {
        await sleep(20);
        continue;
      }
      try {
        while (!session.broken) {
          const [state] = await session.rows('select pg_is_in_recovery() as standby', [], 1_000);
          if (state?.['standby'] === false) {
            const sent = monotonic();
            const [row] = await session.rows(
              `insert into e2e_watch (node) values ($1)
               returning substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as timeline`,
              [server.name],
              1_000,
            );
            this.accepted.push({ node: server.name, timeline: String(row?.['timeline']), sent, acked: monotonic() });
          }
          await sleep(this.everyMs);
        }
      } catch {
        // Not there, not ready, no table yet, or ended: all of it means that no write was accepted.
      }
      session.drop();
      await sleep(20);
    }
  }
}

class Polls {
  readonly polls: Poll[] = [];
  private stopping = false;

  constructor(order: Orders['polls-start']['order']) {
    for (const { name, url } of order.urls) void this.poll(name, url, order.everyMs);
  }

  stop(): void {
    this.stopping = true;
  }

  private async poll(name: string, url: string, everyMs: number): Promise<void> {
    while (!this.stopping) {
      const sent = monotonic();
      const { status } = await ask({ method: 'GET', url, body: null, headers: {}, timeoutMs: 1_000 });
      this.polls.push({ name, status, sent, answered: monotonic() });
      await sleep(everyMs);
    }
  }
}

function ask(order: Orders['http']['order']): Promise<HttpAnswer> {
  const started = monotonic();
  return new Promise((resolve) => {
    const finish = (status: number | null, body: string, error: string | null): void =>
      resolve({ status, body, error, ms: monotonic() - started });
    const sent = request(
      order.url,
      { method: order.method, headers: order.headers, timeout: order.timeoutMs, agent: false },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          body += part;
        });
        response.on('end', () => finish(response.statusCode ?? null, body, null));
        response.on('error', (error) => finish(null, body, String(error)));
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${order.timeoutMs} ms`)));
    sent.on('error', (error) => finish(null, '', String(error)));
    sent.end(order.body ?? undefined);
  });
}

const LOAD_TICK_MS = 1;

/** Exactly what HAProxy's `option httpchk` sends, and no more work than that: the status line, then away. */
function check(url: URL, limitMs: number): Promise<{ readonly status: string | null; readonly ms: number }> {
  const started = monotonic();
  return new Promise((resolve) => {
    const socket = connectTcp({ host: url.hostname, port: Number(url.port) });
    const finish = (status: string | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ status, ms: monotonic() - started });
    };
    const timer = setTimeout(() => finish(null), limitMs);
    socket.once('connect', () => socket.write(`OPTIONS ${url.pathname} HTTP/1.0\r\n\r\n`));
    socket.once('data', (data) => finish(/^HTTP\/1\.\d (\d{3})/.exec(data.toString('latin1'))?.[1] ?? null));
    socket.on('error', () => finish(null));
    socket.on('end', () => finish(null));
  });
}

async function load(order: Orders['load']['order']): Promise<LoadReport> {
  const times: number[] = [];
  const statuses: Record<string, number> = {};
  let unanswered = 0;
  const underWay: Promise<void>[] = [];
  const url = new URL(order.url);
  const started = monotonic();
  let sent = 0;
  // At a fixed rate whatever the answers do: a server that stalls does not get fewer questions for it.
  while (monotonic() - started < order.seconds * 1_000) {
    const due = Math.floor(((monotonic() - started) / 1_000) * order.perSecond);
    for (; sent < due; sent++) {
      const asked = check(url, 2_000);
      underWay.push(
        asked.then(({ status, ms }) => {
          if (status === null) unanswered += 1;
          else {
            times.push(ms);
            statuses[status] = (statuses[status] ?? 0) + 1;
          }
        }),
      );
    }
    await sleep(LOAD_TICK_MS);
  }
  const seconds = (monotonic() - started) / 1_000;
  await Promise.all(underWay);
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return {
    answered: times.length,
    unanswered,
    perSecond: times.length / seconds,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
    statuses,
  };
}

async function commits({ server, sessions, seconds }: Orders['commits']['order']): Promise<CommitReport> {
  const took: number[] = [];
  const until = monotonic() + seconds * 1_000;
  const one = async (): Promise<void> => {
    const session = await connect(server, 'commits', 2_000);
    if (session === null) throw new Error(`cannot connect to Postgres of ${server.name}`);
    try {
      while (monotonic() < until) {
        const began = monotonic();
        await session.rows('insert into e2e_commits values (1)', []);
        took.push(monotonic() - began);
      }
    } finally {
      session.drop();
    }
  };
  await Promise.all(Array.from({ length: sessions }, one));
  took.sort((a, b) => a - b);
  const at = (share: number): number => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0;
  return { commits: took.length, p50Ms: at(0.5), p99Ms: at(0.99) };
}

let writer: Writer | null = null;
let reader: Reader | null = null;
let watcher: Watcher | null = null;
let polls: Polls | null = null;

const nothingWritten: WriterReport = { acked: [], failed: [], unknown: [], errors: [] };

const carryOut: { [N in OrderName]: (order: Orders[N]['order']) => Promise<Orders[N]['answer']> } = {
  'writer-start': async (order) => {
    await writer?.stop();
    writer = new Writer(order);
    return null;
  },
  'writer-acked': async () => writer?.count() ?? 0,
  'writer-report': async () => writer?.report() ?? nothingWritten,
  'writer-stop': async () => {
    const report = (await writer?.stop()) ?? nothingWritten;
    writer = null;
    return report;
  },
  'reader-start': async (order) => {
    await reader?.stop();
    reader = new Reader(order);
    return null;
  },
  'reader-stop': async () => {
    const report = (await reader?.stop()) ?? { answers: 0, rows: [] };
    reader = null;
    return report;
  },
  'watcher-start': async (order) => {
    watcher ??= new Watcher(order);
    return null;
  },
  'watcher-report': async () => watcher?.accepted ?? [],
  'polls-start': async (order) => {
    polls?.stop();
    polls = new Polls(order);
    return null;
  },
  'polls-stop': async () => {
    polls?.stop();
    return polls?.polls ?? [];
  },
  commits,
  http: ask,
  load,
  sql: async ({ server, text, timeoutMs }) => {
    const session = await connect(server, 'test', Math.min(timeoutMs, 2_000));
    if (session === null)
      throw new Error(`cannot connect to Postgres of ${server.name} (${server.host}:${server.port})`);
    try {
      return await session.rows(text, [], timeoutMs);
    } finally {
      session.drop();
    }
  },
};

process.on('message', (message: { id: number; name: OrderName; order: never }) => {
  const work = carryOut[message.name] as (order: never) => Promise<unknown>;
  void work(message.order).then(
    (answer) => process.send?.({ id: message.id, answer }),
    (error: unknown) => process.send?.({ id: message.id, error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));

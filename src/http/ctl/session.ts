/**
 * One run of pgha-ctl: which clusters it has open in etcd, and how it reaches members. Commands read through this and
 * act through the members' REST API; the few writes to etcd that are left (`edit-config`, `remove`, and a failover when
 * no member answers) go through `store`.
 */
import { type ClusterView, type Member, readCluster } from '../../core/cluster.ts';
import type { KeyValue } from '../../core/store.ts';
import { type Millis, millis } from '../../core/time.ts';
import type { Chronicle } from '../../ports/chronicle.ts';
import type { Dcs } from '../../ports/dcs.ts';
import type { EtcdFacts, Examiner } from '../../ports/examination.ts';
import type { CtlContext } from './context.ts';
import type { SqlTarget } from './sql.ts';
import type { Rows } from './table.ts';
import { Misuse, Refusal, type Terminal } from './terminal.ts';

export type Store = Pick<Dcs, 'read' | 'txn' | 'close'> & { readonly chronicle: Chronicle };

export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** The members' REST API. Throws when there is no answer. */
export interface Api {
  call(apiUrl: string, method: string, path: string, body: unknown, limit: Millis): Promise<ApiAnswer>;
  close(): void;
}

/** What a run needs from outside, for tests to replace. */
export interface Outside {
  readonly terminal: Terminal;
  /** Who runs this, and where, for the audit trail: `alice@db1`. */
  readonly operator: string;
  openStore(context: CtlContext, scope: string): Promise<Store>;
  openApi(context: CtlContext): Promise<Api>;
  readonly examine: Examine;
  /** Of a Postgres on this machine, at once. @throws {Refusal} when none runs there, or it is not ours to end */
  killPostmaster(dataDir: string): void;
  /**
   * @param limitMs - for connecting and the answer; null: a statement may take as long as it takes
   * @throws {Refusal} when there is no connection, or Postgres refuses the statement
   */
  runSql(target: SqlTarget, statement: string, limitMs: number | null): Promise<Rows>;
}

/** What `check` looks at. */
export interface Examine extends Examiner {
  /** @throws when a certificate cannot be read, or DNS names no member */
  etcd(context: CtlContext, limit: Millis): Promise<EtcdFacts>;
}

const READ_LIMIT = millis(5_000);
export const ASK_LIMIT = millis(3_000);
/** What we ask of Postgres ourselves is answered in milliseconds. */
const SQL_LIMIT_MS = 10_000;

export class Session {
  readonly terminal: Terminal;
  readonly #outside: Outside;
  readonly #readContext: () => Promise<CtlContext>;
  #context: Promise<CtlContext> | null = null;
  #api: Promise<Api> | null = null;
  readonly #stores = new Map<string, Promise<Store>>();

  constructor(outside: Outside, context: () => Promise<CtlContext>) {
    this.terminal = outside.terminal;
    this.#outside = outside;
    this.#readContext = context;
  }

  context(): Promise<CtlContext> {
    this.#context ??= this.#readContext();
    return this.#context;
  }

  /** The name that was typed, else the one of the configuration. */
  async scope(typed: string | undefined): Promise<string> {
    const scope = typed ?? (await this.context()).scope;
    if (scope === null) throw new Misuse('Which cluster? The configuration names no scope: give CLUSTER.');
    return scope;
  }

  async store(scope: string): Promise<Store> {
    // Below the namespace itself stand all clusters.
    if (/^\/*$/.test(scope)) throw new Misuse(`"${scope}" is no name of a cluster.`);
    let open = this.#stores.get(scope);
    if (open === undefined) {
      open = this.context().then((context) => this.#outside.openStore(context, scope));
      this.#stores.set(scope, open);
    }
    return await open;
  }

  /** @throws {Refusal} when etcd does not answer */
  async read(scope: string): Promise<ClusterView> {
    const answer = await (await this.store(scope)).read(READ_LIMIT);
    if (answer.kind === 'unanswered') {
      const { etcd } = await this.context();
      throw new Refusal(`etcd does not answer (${etcd.endpoints.join(', ')}): ${answer.cause}`);
    }
    return readCluster(answer.entries, answer.header);
  }

  /** What is kept for people. @throws {Refusal} when etcd does not answer, or there is no such cluster */
  async readChronicle(scope: string): Promise<readonly KeyValue[]> {
    const answer = await (await this.store(scope)).chronicle.read(READ_LIMIT);
    if (answer.kind === 'unanswered') {
      const { etcd } = await this.context();
      throw new Refusal(`etcd does not answer (${etcd.endpoints.join(', ')}): ${answer.cause}`);
    }
    // What a cluster left behind is still told.
    if (answer.entries.length === 0) await this.readExisting(scope);
    return answer.entries;
  }

  /** @throws {Refusal} also when there is nothing at all under that name */
  async readExisting(scope: string): Promise<ClusterView> {
    const view = await this.read(scope);
    if (!exists(view)) throw new Refusal(`There is no cluster ${scope} in etcd.`);
    return view;
  }

  /** @throws when the member does not answer */
  async call(
    member: Member,
    method: string,
    path: string,
    body?: unknown,
    limit: Millis = ASK_LIMIT,
  ): Promise<ApiAnswer> {
    if (member.apiUrl === null) throw new Error(`${member.name} has not published the address of its REST API`);
    this.#api ??= this.context().then((context) => this.#outside.openApi(context));
    return await (await this.#api).call(member.apiUrl, method, path, body, limit);
  }

  get operator(): string {
    return this.#outside.operator;
  }

  get examine(): Examine {
    return this.#outside.examine;
  }

  killPostmaster(dataDir: string): void {
    this.#outside.killPostmaster(dataDir);
  }

  sql(target: SqlTarget, statement: string, limitMs: number | null = SQL_LIMIT_MS): Promise<Rows> {
    return this.#outside.runSql(target, statement, limitMs);
  }

  async close(): Promise<void> {
    const stores = await Promise.allSettled(this.#stores.values());
    await Promise.allSettled(stores.map((open) => (open.status === 'fulfilled' ? open.value.close() : undefined)));
    const api = await this.#api?.catch(() => null);
    api?.close();
  }
}

export const exists = (view: ClusterView): boolean =>
  view.members.length > 0 || view.leader !== null || view.initialize !== null || view.config !== null;

/** The leader's own entry; null also when the key names somebody who has published nothing. */
export function leaderOf(view: ClusterView): Member | null {
  return view.members.find((member) => member.name === view.leader?.name) ?? null;
}

/** The leader first: it acts at once on what others would only pass on. */
export function leaderFirst(view: ClusterView): readonly Member[] {
  const leader = leaderOf(view);
  return leader === null ? view.members : [leader, ...view.members.filter((member) => member !== leader)];
}

export const ROLES = ['leader', 'primary', 'standby-leader', 'replica', 'standby', 'any'] as const;
export type Role = (typeof ROLES)[number];

export function hasRole(member: Member, view: ClusterView, role: Role): boolean {
  const leads = view.leader?.name === member.name;
  switch (role) {
    case 'any':
      return true;
    case 'leader':
      return leads;
    case 'primary':
      return leads && member.role !== 'standby_leader';
    case 'standby-leader':
      return leads && member.role === 'standby_leader';
    case 'replica':
    case 'standby':
      return !leads && member.pgha?.role !== 'witness';
    default:
      return ((never: never) => never)(role);
  }
}

/** `CLUSTER [MEMBER...]` as it was typed; the cluster may be left out when the first word is one of its members. */
export async function targets(
  session: Session,
  words: readonly string[],
): Promise<{ readonly scope: string; readonly view: ClusterView; readonly names: readonly string[] }> {
  const [first, ...rest] = words;
  const own = (await session.context()).scope;
  if (first === undefined || (own !== null && first !== own)) {
    const scope = await session.scope(undefined);
    const view = await session.read(scope);
    if (first === undefined || view.members.some((member) => member.name === first)) {
      return { scope, view, names: words };
    }
  }
  const scope = await session.scope(first);
  return { scope, view: await session.readExisting(scope), names: rest };
}

/** @throws {Refusal} when one of the names is no member */
export function pick(
  view: ClusterView,
  scope: string,
  names: readonly string[],
  role: Role = 'any',
): readonly Member[] {
  const unknown = names.find((name) => !view.members.some((member) => member.name === name));
  if (unknown !== undefined) {
    const known = view.members.map((member) => member.name).join(', ');
    throw new Refusal(`${unknown} is not a member of cluster ${scope}${known === '' ? '' : ` (members: ${known})`}.`);
  }
  const chosen = names.length === 0 ? view.members : view.members.filter((member) => names.includes(member.name));
  return chosen.filter((member) => hasRole(member, view, role));
}

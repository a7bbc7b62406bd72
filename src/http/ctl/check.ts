/**
 * `check`: host, network, etcd, clone, replication, each from this machine and changing nothing. Gathers facts, has them
 * judged (check/), and prints: for people with what to type, for Nagios in one line, for programs as JSON.
 */
import { withFiles } from '../../config/files.ts';
import { loadConfig } from '../../config/load.ts';
import type { Config } from '../../config/schema.ts';
import { resolveCluster } from '../../config/settings.ts';
import { splitAddress } from '../../config/units.ts';
import type { ClusterView } from '../../core/cluster.ts';
import { type Millis, millis } from '../../core/time.ts';
import { PghaError } from '../../errors.ts';
import type { EtcdFacts } from '../../ports/examination.ts';
import { type Finding, findingsText, type Judgement, NAGIOS, nagiosLine, worst } from './check/finding.ts';
import { type CloneFacts, judgeClone } from './check/judge-clone.ts';
import { judgeEtcd } from './check/judge-etcd.ts';
import { type HostExpectation, judgeHost, PROGRAMS, parentOf } from './check/judge-host.ts';
import { type Door, judgeNetwork } from './check/judge-network.ts';
import { judgePooler } from './check/judge-poolers.ts';
import { judgeReplication } from './check/judge-replication.ts';
import { CHECKS, type Check } from './check/names.ts';
import { messageOf } from './outcome.ts';
import { exists, leaderOf, type Session } from './session.ts';
import { printable } from './table.ts';
import { Misuse, Refusal } from './terminal.ts';

export interface CheckOptions {
  readonly nagios?: boolean;
  /** Bytes of lag. */
  readonly warning: number;
  readonly critical: number;
  /** Seconds for each question. */
  readonly timeout: number;
  readonly format: 'pretty' | 'json';
}

export async function check(
  session: Session,
  what: Check | 'all',
  name: string | undefined,
  options: CheckOptions,
): Promise<number> {
  if (what === 'all' && options.nagios === true) throw new Misuse('--nagios wants one check at a time');
  if (options.nagios === true && options.format !== 'pretty')
    throw new Misuse('--nagios prints its own line: no --format');
  const { terminal } = session;
  const results: { readonly check: Check; readonly judgement: Judgement }[] = [];
  for (const one of what === 'all' ? CHECKS : [what]) {
    results.push({ check: one, judgement: await judged(session, one, name, options, what === 'all') });
  }
  if (options.nagios === true) {
    const { check: one, judgement } = results[0] ?? { check: 'host' as const, judgement: NOTHING };
    terminal.out(printable(nagiosLine(one, judgement)));
    return NAGIOS[worst(judgement.findings)];
  }
  if (options.format === 'json')
    terminal.out(
      JSON.stringify(
        results.map((one) => ({ check: one.check, level: worst(one.judgement.findings), ...one.judgement })),
      ),
    );
  else
    for (const one of results) {
      const text = printable(findingsText(one.judgement.findings));
      terminal.out(results.length === 1 ? text : `${one.check}\n${text.replace(/^/gm, '  ')}\n`);
    }
  const bad = results.some((one) => ['critical', 'unknown'].includes(worst(one.judgement.findings)));
  return bad ? 1 : 0;
}

const NOTHING: Judgement = { findings: [], figures: [] };

/** For Nagios, and beside other checks, one that cannot be made is a finding too. */
export async function judged(
  session: Session,
  what: Check,
  name: string | undefined,
  options: CheckOptions,
  amongOthers: boolean,
): Promise<Judgement> {
  try {
    return await GATHER[what](session, name, options);
  } catch (error) {
    if (!(error instanceof Refusal) || (options.nagios !== true && !amongOthers)) throw error;
    return { findings: [{ level: 'unknown', about: what, said: error.message }], figures: [] };
  }
}

type Gather = (session: Session, name: string | undefined, options: CheckOptions) => Promise<Judgement>;

const limitOf = ({ timeout }: CheckOptions): Millis => millis(timeout * 1000);

// ---- etcd --------------------------------------------------------------------------------------------------------------------

const gatherEtcd: Gather = async (session, name, options) => {
  const facts = await etcdFacts(session, options);
  return judgeEtcd(facts, policyOf(await viewOrNull(session, name)).ttl);
};

async function etcdFacts(session: Session, options: CheckOptions): Promise<EtcdFacts> {
  try {
    return await session.examine.etcd(await session.context(), limitOf(options));
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(`etcd could not be asked: ${messageOf(error)}`);
  }
}

/** What an etcd in trouble does not say is no reason to say nothing of it. */
async function viewOrNull(session: Session, name: string | undefined): Promise<ClusterView | null> {
  const scope = name ?? (await session.context()).scope;
  if (scope === null) return null;
  return await session.read(scope).then(
    (view) => (exists(view) ? view : null),
    () => null,
  );
}

const policyOf = (view: ClusterView | null) => resolveCluster(view?.config?.value ?? null, {}).cluster;

// ---- network -----------------------------------------------------------------------------------------------------------------

const gatherNetwork: Gather = async (session, name, options) => {
  // Before there is a cluster the ports of etcd can be looked at all the same.
  const view = await viewOrNull(session, name);
  const facts = await etcdFacts(session, options);
  const doors = await Promise.all(
    doorsOf(view, facts, (await session.context()).etcd.endpoints).map(async (door): Promise<Door> => {
      return { ...door, reach: await session.examine.reach(door.host, door.port, limitOf(options)) };
    }),
  );
  const judgement = judgeNetwork(doors, view, policyOf(view).loopWait);
  return { ...judgement, findings: [...judgement.findings, ...(await poolersOf(session, options))] };
};

/** Those that the file of this node names, if there is one; what is wrong with the file is told by `check host`. */
async function poolersOf(session: Session, options: CheckOptions): Promise<readonly Finding[]> {
  const pgbouncer = await nodeConfig(session).then(
    ({ config }) => config.pgbouncer,
    () => null,
  );
  if (pgbouncer === null) return [];
  const found = await Promise.all(
    pgbouncer.poolers.map(async (address) =>
      judgePooler(
        address,
        await session.examine.pooler(pgbouncer, address, limitOf(options)),
        pgbouncer.maxPause / 1000,
      ),
    ),
  );
  return found.flat();
}

type ClosedDoor = Omit<Door, 'reach'>;

function doorsOf(
  view: ClusterView | null,
  { members }: EtcdFacts,
  endpoints: readonly string[],
): readonly ClosedDoor[] {
  const doors: ClosedDoor[] = [];
  const add = (who: string, what: Door['what'], url: string): void => {
    const address = splitAddress(url.replace(/^[a-z0-9+]+:\/\//i, '').replace(/\/.*$/, ''));
    if (address === null || address.port === null) return;
    const { host, port } = address;
    if (!doors.some((one) => one.host === host && one.port === port)) doors.push({ who, what, host, port });
  };
  for (const member of view?.members ?? []) {
    if (member.host !== null) {
      const host = member.host.includes(':') ? `[${member.host}]` : member.host;
      add(member.name, 'Postgres', `${host}:${member.port ?? 5432}`);
    }
    if (member.apiUrl !== null) add(member.name, 'REST API', member.apiUrl);
  }
  for (const url of endpoints) add('etcd', 'etcd', url);
  for (const { name, peerUrls } of members ?? [])
    for (const url of peerUrls) add(`etcd ${name}`, 'etcd, among its members', url);
  return doors;
}

// ---- replication -------------------------------------------------------------------------------------------------------------

const gatherReplication: Gather = async (session, name, { warning, critical }) => {
  if (warning > critical) throw new Misuse('--warning is more than --critical');
  return judgeReplication(await session.readExisting(await session.scope(name)), { warning, critical });
};

// ---- clone -------------------------------------------------------------------------------------------------------------------

/** What `check clone` asks of the leader, as its superuser. */
export const copyQuestion = (user: string): string =>
  `SELECT current_setting('max_wal_senders'), (SELECT count(*) FROM pg_stat_replication),
  current_setting('max_replication_slots'), (SELECT count(*) FROM pg_replication_slots), current_setting('wal_level'),
  (SELECT sum(pg_database_size(oid)) FROM pg_database), current_setting('server_version_num'),
  (SELECT rolcanlogin AND (rolreplication OR rolsuper) FROM pg_roles WHERE rolname = ${literal(user)})`;

/** @param row - the one row of the answer, as text; an empty cell is null */
export function copyAnswer(row: readonly unknown[]): Omit<CloneFacts, 'replicationUser' | 'free' | 'dataDirectory'> {
  const said = row.map(String);
  const number = (index: number): number => Number(said[index] ?? 0);
  const right = said[7] ?? '';
  return {
    mayReplicate: right === '' ? null : right.startsWith('t'),
    walLevel: said[4] ?? '',
    maxWalSenders: number(0),
    walSenders: number(1),
    maxSlots: number(2),
    slots: number(3),
    size: number(5),
    version: number(6),
  };
}

const gatherClone: Gather = async (session, name, options) => {
  const { config } = await nodeConfig(session);
  return await judgeCopy(session, name ?? config.scope, config.node.name, limitOf(options));
};

/**
 * Whether `member` could be copied from the leader, asked with the logins of this node's file; room is looked at where this is
 * that member's node.
 *
 * @throws {Refusal} when there is no leader, no file of a node, or no answer of Postgres
 */
export async function judgeCopy(session: Session, scope: string, member: string, limit?: Millis): Promise<Judgement> {
  const { config } = await nodeConfig(session);
  const leader = leaderOf(await session.readExisting(scope));
  if (leader === null || leader.host === null)
    throw new Refusal(`Cluster ${scope} has no leader that could be copied: pgha-ctl explain`);
  const { superuser, replication } = config.postgresql.authentication;
  const user = replication.username;
  const target = {
    host: leader.host,
    port: leader.port ?? 5432,
    user: superuser.username,
    database: config.postgresql.database,
    ...(superuser.password === null ? {} : { password: superuser.password }),
  };
  const { rows } = await session.sql(target, copyQuestion(user), limit);
  const isHere = member === config.node.name && leader.name !== member;
  const free = isHere ? await session.examine.freeBytes(config.postgresql.dataDir) : null;
  return judgeClone({
    ...copyAnswer(rows[0] ?? []),
    replicationUser: user,
    free: free === null ? null : Number(free),
    dataDirectory: isHere ? config.postgresql.dataDir : null,
  });
}

/** As Postgres reads it with standard_conforming_strings on, and off. */
const literal = (text: string): string => `E'${text.replace(/\\/g, '\\\\').replace(/'/g, "''")}'`;

// ---- host --------------------------------------------------------------------------------------------------------------------

const VERSIONS = [18, 17, 16, 15, 14, 13, 12];

const gatherHost: Gather = async (session, name, options) => {
  const { config, files: secrets } = await nodeConfig(session);
  const { dataDir, binDir } = config.postgresql;
  const isWitness = config.node.role === 'witness';
  const programDirectories =
    binDir === null
      ? [
          ...VERSIONS.flatMap((version) => [`/usr/lib/postgresql/${version}/bin`, `/usr/pgsql-${version}/bin`]),
          ...(session.terminal.env['PATH'] ?? '').split(':').filter((one) => one.startsWith('/')),
        ]
      : [binDir];
  const view = await viewOrNull(session, name ?? config.scope);
  const [facts, clockOffsets] = await Promise.all([
    session.examine.host({
      paths: isWitness ? secrets : [dataDir, parentOf(dataDir), ...secrets],
      programDirectories,
      programs: isWitness ? [] : PROGRAMS,
      ...(config.vip === null ? {} : { interface: config.vip.interface }),
    }),
    view === null ? [] : clocksOf(session, view),
  ]);
  const shown = binDir === null ? ['the usual places', 'PATH'] : [binDir];
  const expected: HostExpectation = {
    dataDirectory: isWitness ? null : dataDir,
    secrets,
    programDirectories: shown,
    clockOffsets,
    ...(config.vip === null ? {} : { vip: config.vip }),
  };
  const { findings, figures } = judgeHost(facts, expected);
  const etcd = await latencyOf(session, view, options);
  return { findings: [...findings, ...etcd], figures };
};

/** Too slow an etcd is a trouble of this node as well; the rest of it is the business of `check etcd`. */
async function latencyOf(
  session: Session,
  view: ClusterView | null,
  options: CheckOptions,
): Promise<readonly Finding[]> {
  try {
    const { findings } = judgeEtcd(await etcdFacts(session, options), policyOf(view).ttl);
    const bad = findings.filter(({ level }) => level !== 'ok');
    const said = findings.filter(({ about, level }) => about === 'latency' && (level !== 'ok' || bad.length === 0));
    return [...said, ...bad.filter(({ level, about }) => level === 'critical' && about !== 'latency')].map((one) => ({
      ...one,
      about: `etcd ${one.about}`,
    }));
  } catch (error) {
    return [{ level: 'critical', about: 'etcd', said: messageOf(error) }];
  }
}

/** By the Date of an answer, which has whole seconds. Who does not answer is not judged here. */
async function clocksOf(session: Session, view: ClusterView): Promise<HostExpectation['clockOffsets']> {
  const offsets = await Promise.all(
    view.members.map(async (member) => {
      try {
        const { headers } = await session.call(member, 'GET', '/liveness');
        const there = Date.parse(String(headers['date']));
        if (!Number.isFinite(there)) return null;
        return { member: member.name as string, seconds: (there + 500 - session.terminal.now().getTime()) / 1000 };
      } catch {
        return null;
      }
    }),
  );
  return offsets.filter((one) => one !== null);
}

interface NodeConfig {
  readonly config: Config;
  /** Those that were read for it: each may hold a secret. */
  readonly files: readonly string[];
}

/** @throws {Refusal} when there is no file of a node, or the daemon would refuse it */
export async function nodeConfig(session: Session): Promise<NodeConfig> {
  const { file } = await session.context();
  if (file === null)
    throw new Refusal("Which node? There is no /etc/pgha/pgha.yml: use -c FILE with this node's own file.");
  try {
    const { env } = session.terminal;
    const read = new Set<string>();
    const { config } = await withFiles(({ readFile, ...files }) => {
      const noted = (path: string): string => {
        const text = readFile(path);
        read.add(path);
        return text;
      };
      return loadConfig({ path: file, env, readFile: noted, ...files });
    });
    return { config, files: [...read] };
  } catch (error) {
    if (error instanceof PghaError) throw new Refusal(`${error.code}: ${error.text.happened.trimEnd()}`);
    throw error;
  }
}

const GATHER: Readonly<Record<Check, Gather>> = {
  host: gatherHost,
  network: gatherNetwork,
  etcd: gatherEtcd,
  clone: gatherClone,
  replication: gatherReplication,
};

/**
 * Chaos: carries a plan of faults out on a real cluster under a writer, calms everything down after each round, and then
 * reads what became of every row, on every node. It judges by what clients and etcd can see, not by what daemons say of
 * themselves; only for rows lost in asynchronous mode their logs have to have said that it may be so.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { FaultKind, PlannedFault, Round, Whom } from './chaos-plan.ts';
import { Client } from './client.ts';
import { Cluster, type Node } from './cluster.ts';
import { Disk, disksUnavailable } from './disk.ts';
import { longestPause, lossesTold, timelineOf, together, type Verdict, type WriterReport, writerOf } from './ledger.ts';
import { frozen, type ProcessId, signal } from './processes.ts';
import { openRun, runDirectory } from './run.ts';
import { monotonic, sleep, until } from './time.ts';
import { WallClock, wallClocksUnavailable } from './wall-clock.ts';

export interface ChaosOptions {
  readonly nodes: number;
  /** Over the cluster-wide settings at bootstrap: synchronous_mode, failsafe_mode, ... */
  readonly dcs: Readonly<Record<string, unknown>>;
  /** Acknowledged rows may be lost where the loss is announced: asynchronous replication. */
  readonly mayLose: boolean;
  readonly say: (sentence: string) => void;
}

export interface Injected {
  readonly kind: FaultKind;
  /** Milliseconds since the round began. */
  readonly at: number;
  readonly until: number | null;
  /** What was done to whom. */
  readonly what: string;
}

/** A fault of the plan that could not be done, and why. */
export interface NotDone {
  readonly kind: FaultKind;
  readonly at: number;
  readonly why: string;
}

/** What those saw who only read, one on each node. */
export interface Reads {
  readonly answers: number;
  readonly rows: number;
  /** Seen by one of them, and never attempted, or refused. */
  readonly phantom: readonly string[];
}

export interface RoundReport {
  readonly round: number;
  readonly injected: readonly Injected[];
  readonly notDone: readonly NotDone[];
  readonly verdict: Verdict;
  readonly reads: Reads;
  readonly longestPauseMs: number;
  /** From the last fault's end until everybody streams again. */
  readonly calmAfterMs: number;
  readonly from: string;
  readonly to: string;
  /** Broken promises; empty is good. */
  readonly broken: readonly string[];
}

type Undo = () => void | Promise<void>;
/** What was done, and how it is undone; or why nothing was. */
type Deed = { readonly what: string; readonly undo?: Undo } | { readonly notDone: string };

const NOBODY: Deed = { notDone: 'there is nobody whom it could meet now' };

/** Everything has to be well again within this time, whatever the round has done: a copy of the database is in it. */
const CALM_LIMIT_MS = 120_000;
const OPERATOR_LIMIT_MS = 30_000;
const FILLER = 'filler';
/** Seconds. */
const CLOCK_STEP_LIMIT = 3_600;
const NEWEST = 'select row from e2e_ledger order by n desc limit 20';

export class Chaos {
  readonly cluster: Cluster;
  /** One on each node: it writes wherever it can, and reads on its node. A link that is cut does not stop it. */
  private readonly locals: ReadonlyMap<string, Client>;
  private readonly disks: ReadonlyMap<string, Disk>;
  private readonly clocks: ReadonlyMap<string, WallClock>;
  private readonly options: ChaosOptions;
  /** What is wrong now, in the order in which it was done. */
  private open: { readonly key: string; readonly undo: Undo }[] = [];
  private readonly sickDisks = new Set<string>();
  private readonly asides: Promise<unknown>[] = [];

  private constructor(parts: {
    cluster: Cluster;
    locals: ReadonlyMap<string, Client>;
    disks: ReadonlyMap<string, Disk>;
    clocks: ReadonlyMap<string, WallClock>;
    options: ChaosOptions;
  }) {
    this.cluster = parts.cluster;
    this.locals = parts.locals;
    this.disks = parts.disks;
    this.clocks = parts.clocks;
    this.options = parts.options;
  }

  static async start(options: ChaosOptions): Promise<Chaos> {
    openRun();
    const noDisks = disksUnavailable();
    if (noDisks !== null) options.say(`without faults of disks: ${noDisks}`);
    const noClocks = wallClocksUnavailable();
    if (noClocks !== null) options.say(`without steps of clocks: ${noClocks}`);
    const disks = new Map<string, Disk>();
    const clocks = new Map<string, WallClock>();
    const place = join(runDirectory, 'chaos');
    const cluster = await Cluster.start({
      nodes: options.nodes,
      etcdMembers: 3,
      directory: place,
      dcs: options.dcs,
      parameters: { max_wal_size: '128MB' },
      env: (name) => {
        if (noClocks !== null) return {};
        const clock = new WallClock(name);
        clocks.set(name, clock);
        return clock.env;
      },
      node: (name) => {
        if (noDisks === null) disks.set(name, Disk.at(join(place, name, 'data')));
        return {};
      },
    });
    const locals = new Map<string, Client>();
    for (const { name, host } of cluster.nodes) locals.set(name, await Client.start(host, `client-${name}`));
    // In the order in which rows were written, as those who read want them.
    await cluster.sql(
      await cluster.primary(),
      'alter table e2e_ledger add column n bigserial; create index on e2e_ledger (n)',
    );
    return new Chaos({ cluster, locals, disks, clocks, options });
  }

  async run(round: Round): Promise<RoundReport> {
    const { cluster } = this;
    await cluster.startWriter({ sessions: 3, everyMs: 10 });
    await Promise.all(cluster.nodes.map((node) => this.startLocal(node)));
    const from = await cluster.primary();
    const began = monotonic();
    const injected: Injected[] = [];
    const notDone: NotDone[] = [];
    const timers: Promise<void>[] = [];
    for (const fault of round.faults) {
      await sleep(Math.max(0, began + fault.at - monotonic()));
      const deed = await this.inject(fault);
      const at = Math.round(monotonic() - began);
      const when = `${(at / 1000).toFixed(1).padStart(5)} s  ${fault.kind}`;
      if ('notDone' in deed) {
        notDone.push({ kind: fault.kind, at, why: deed.notDone });
        this.options.say(`${when}: NOT DONE, ${deed.notDone}`);
        continue;
      }
      const lasts = deed.undone === null ? null : fault.lasts;
      injected.push({ kind: fault.kind, at, until: lasts === null ? null : at + lasts, what: deed.what });
      this.options.say(`${when}: ${deed.what}${lasts === null ? '' : `, for ${(lasts / 1000).toFixed(1)} s`}`);
      if (deed.undone !== null && lasts !== null) timers.push(this.undoAfter(lasts, deed.undone));
    }
    await Promise.all(timers);
    await this.calm();
    return await this.judgeRound(round, { injected, notDone, from, began, calmFrom: monotonic() });
  }

  /** Whose node is cut off from everybody writes on over the unix socket; such rows are booked like all others. */
  private async startLocal(node: Node): Promise<void> {
    const local = this.locals.get(node.name);
    const servers = this.cluster.nodes.map((other) => (other === node ? other.local : other.server));
    await local?.ask('writer-start', { servers, sessions: 1, everyMs: 20, payloadBytes: 20 });
    await local?.ask('reader-start', { server: node.local, everyMs: 100, newest: NEWEST });
  }

  /** @returns what all who wrote know, together, and what those saw who read */
  private async stopClients(): Promise<{ readonly report: WriterReport; readonly reads: Reads }> {
    const locals = [...this.locals.values()];
    const report = together(
      await Promise.all([this.cluster.stopWriter(), ...locals.map((local) => local.ask('writer-stop', null))]),
    );
    const readers = await Promise.all(locals.map((local) => local.ask('reader-stop', null)));
    const possible = new Set([...report.acked.map(({ row }) => row), ...report.unknown]);
    const writers = new Set([...possible, ...report.failed].map(writerOf));
    // A reader that begins sees rows of the round before.
    const seen = new Set(readers.flatMap(({ rows }) => rows).filter((row) => writers.has(writerOf(row))));
    return {
      report,
      reads: {
        answers: readers.reduce((sum, { answers }) => sum + answers, 0),
        rows: seen.size,
        phantom: [...seen].filter((row) => !possible.has(row)),
      },
    };
  }

  private async judgeRound(
    round: Round,
    facts: {
      readonly injected: readonly Injected[];
      readonly notDone: readonly NotDone[];
      readonly from: string;
      readonly began: number;
      readonly calmFrom: number;
    },
  ): Promise<RoundReport> {
    const { cluster } = this;
    await cluster.waitForPrimary(CALM_LIMIT_MS);
    await cluster.waitForWrites(20, CALM_LIMIT_MS);
    await cluster.waitAllStreaming(CALM_LIMIT_MS);
    const calmAfterMs = monotonic() - facts.calmFrom;
    await Promise.all(this.asides.splice(0));
    const { report, reads } = await this.stopClients();
    await cluster.waitAllStreaming(CALM_LIMIT_MS);
    const verdict = await cluster.finalRead(report);
    const broken = [...(await cluster.twoWriters())];
    if (verdict.phantom.length > 0) broken.push(`${verdict.phantom.length} rows that were refused or never attempted`);
    if (reads.phantom.length > 0)
      broken.push(
        `${reads.phantom.length} rows were read that were refused or never attempted, ${reads.phantom[0]} first`,
      );
    if (verdict.lost.length > 0) broken.push(...(await this.unexplained(verdict, report)));
    broken.push(...(await this.differences(verdict)), ...this.selfEnded());
    return {
      round: round.number,
      injected: facts.injected,
      notDone: facts.notDone,
      verdict,
      reads,
      longestPauseMs: longestPause(report.acked, facts.began)?.ms ?? 0,
      calmAfterMs,
      from: facts.from,
      to: await cluster.primary(),
      broken,
    };
  }

  async destroy(): Promise<void> {
    for (const disk of this.disks.values()) disk.thaw();
    for (const local of this.locals.values()) local.stop();
    await this.cluster.destroy();
    for (const disk of this.disks.values()) disk.remove();
  }

  // ---- one fault --------------------------------------------------------------------------------------------------

  private async inject(
    fault: PlannedFault,
  ): Promise<{ readonly what: string; readonly undone: string | null } | { readonly notDone: string }> {
    const deed = await this.deed(fault).catch((error: unknown): Deed => ({ notDone: String(error) }));
    if ('notDone' in deed) return deed;
    if (deed.undo === undefined) return { what: deed.what, undone: null };
    const key = `${fault.kind} ${deed.what} ${fault.at}`;
    this.open.push({ key, undo: deed.undo });
    return { what: deed.what, undone: key };
  }

  /** Never rejects: what could not be undone in time, the calm undoes in any case. */
  private async undoAfter(ms: number, key: string): Promise<void> {
    await sleep(ms);
    const found = this.open.find((one) => one.key === key);
    if (found === undefined) return;
    this.open = this.open.filter((one) => one !== found);
    await this.attemptUndo(found);
  }

  private async attemptUndo({ key, undo }: (typeof this.open)[number]): Promise<void> {
    try {
      await undo();
    } catch (error) {
      this.options.say(`         ${key} could not be undone: ${String(error)}`);
    }
  }

  private async deed({ kind, whom, which }: PlannedFault): Promise<Deed> {
    if (kind.startsWith('etcd-') && kind !== 'etcd-cut') return this.toEtcd(kind, which);
    const node = await this.target(whom, which);
    if (node === null) return NOBODY;
    if (kind === 'clock-stepped') return this.toClock(node, which);
    if (kind.startsWith('operator-')) return this.byOperator(kind, node);
    return (await this.toProcesses(kind, node, which)) ?? this.toNetwork(kind, node, which) ?? this.toDisk(kind, node);
  }

  private async toProcesses(kind: FaultKind, node: Node, which: number): Promise<Deed | null> {
    const { cluster } = this;
    const { name } = node;
    const guard = node.guard();
    const daemon = node.daemon.id();
    switch (kind) {
      case 'postmaster-killed': {
        const id = node.postmaster();
        return id !== null && signal(id, 'SIGKILL') ? { what: name } : NOBODY;
      }
      case 'backend-killed': {
        const child = processOf(node, which);
        return child !== null && signal(child, 'SIGKILL') ? { what: name } : NOBODY;
      }
      case 'postgres-frozen':
        if (node.postmaster() === null) return NOBODY;
        cluster.freezeFamily(name);
        return { what: name, undo: () => cluster.thawFamily(name) };
      case 'backend-frozen': {
        const child = processOf(node, which);
        if (child === null || !signal(child, 'SIGSTOP')) return NOBODY;
        return { what: name, undo: () => void signal(child, 'SIGCONT') };
      }
      case 'daemon-killed':
        if (daemon === null) return NOBODY;
        // The next daemon ends it, which takes a moment, and the deadline may be nearer.
        if (guard === null || frozen(guard)) return { notDone: 'the guard is frozen: nobody would be left' };
        node.daemon.kill();
        return { what: name };
      case 'daemon-frozen':
        if (daemon === null) return NOBODY;
        // Without both nobody on the node can keep the promise, and the docs say so.
        if (guard === null || frozen(guard)) return { notDone: 'the guard is frozen as well' };
        node.daemon.freeze();
        return { what: name, undo: () => node.daemon.thaw() };
      case 'guard-killed':
      case 'guard-frozen':
        if (guard === null) return NOBODY;
        if (daemon === null || frozen(daemon)) return { notDone: 'the daemon is frozen as well' };
        if (!signal(guard, kind === 'guard-killed' ? 'SIGKILL' : 'SIGSTOP')) return NOBODY;
        return kind === 'guard-killed' ? { what: name } : { what: name, undo: () => void signal(guard, 'SIGCONT') };
      case 'node-lost':
        if (daemon === null) return NOBODY;
        this.disks.get(name)?.thaw();
        await cluster.killNode(name);
        return { what: name, undo: () => cluster.reviveNode(name) };
      default:
        return null;
    }
  }

  private toClock(node: Node, which: number): Deed {
    const clock = this.clocks.get(node.name);
    if (clock === undefined) return NOBODY;
    const seconds = Math.round((which * 2 - 1) * CLOCK_STEP_LIMIT);
    clock.set(seconds);
    return { what: `${node.name} by ${seconds} s`, undo: () => clock.set(0) };
  }

  private toNetwork(kind: FaultKind, node: Node, which: number): Deed | null {
    const { network, etcd, nodes } = this.cluster;
    const others = nodes.filter(({ name }) => name !== node.name);
    const peer = others[Math.floor(which * others.length)]?.name ?? node.name;
    switch (kind) {
      case 'node-cut':
        network.cut(node.name);
        return { what: node.name, undo: () => network.heal(node.name) };
      case 'etcd-cut': {
        const hosts = etcd.members.map(({ host }) => host.name);
        for (const host of hosts) network.cutBetween(node.name, host);
        return {
          what: node.name,
          undo: () => {
            for (const host of hosts) network.healBetween(node.name, host);
          },
        };
      }
      case 'replication-cut':
        network.cutPort(node.name, peer, node.pgPort);
        return { what: `${node.name} and ${peer}`, undo: () => network.healPort(node.name, peer, node.pgPort) };
      case 'api-cut':
        network.cutPort(node.name, peer, node.apiPort);
        return { what: `${node.name} and ${peer}`, undo: () => network.healPort(node.name, peer, node.apiPort) };
      case 'client-cut':
        network.cutBetween(node.name, 'client');
        return { what: node.name, undo: () => network.healBetween(node.name, 'client') };
      case 'link-slow': {
        const kbit = Math.round(250 * 2 ** (which * 4));
        network.slow(node.name, kbit);
        return { what: `${node.name} at ${kbit} kbit/s`, undo: () => network.fast(node.name) };
      }
      default:
        return null;
    }
  }

  private toDisk(kind: FaultKind, node: Node): Deed {
    const disk = this.disks.get(node.name);
    // On a frozen disk even the filler could neither be made nor removed.
    if (disk === undefined || this.sickDisks.has(node.name)) return NOBODY;
    if (kind === 'disk-frozen') disk.freeze();
    else if (kind === 'disk-full') fill(disk);
    else return NOBODY;
    this.sickDisks.add(node.name);
    return { what: node.name, undo: () => this.healDisk(node.name, disk) };
  }

  private healDisk(name: string, disk: Disk): void {
    disk.thaw();
    rmSync(join(disk.path, FILLER), { force: true });
    this.sickDisks.delete(name);
  }

  private async toEtcd(kind: FaultKind, which: number): Promise<Deed> {
    const { etcd } = this.cluster;
    const member = etcd.members[Math.floor(which * etcd.members.length)];
    if (member === undefined) return NOBODY;
    switch (kind) {
      case 'etcd-member-killed':
        await etcd.killMember(member.name);
        return { what: member.name, undo: () => etcd.startMember(member.name) };
      case 'etcd-member-frozen':
        etcd.freezeMember(member.name);
        return { what: member.name, undo: () => etcd.thawMember(member.name) };
      case 'etcd-frozen':
        for (const { name } of etcd.members) etcd.freezeMember(name);
        return {
          what: 'all its members',
          undo: () => {
            for (const { name } of etcd.members) etcd.thawMember(name);
          },
        };
      default:
        return NOBODY;
    }
  }

  /** What operators ask for in the middle of it all may be refused; then that is the answer. */
  private byOperator(kind: FaultKind, node: Node): Deed {
    const { cluster } = this;
    const args = {
      'operator-switchover': ['switchover', '--candidate', node.name, '--force'],
      'operator-restart': ['restart', cluster.scope, node.name, '--force'],
      'operator-reinit': ['reinit', cluster.scope, node.name, '--force'],
    }[kind as string];
    if (args === undefined) return NOBODY;
    this.asides.push(
      cluster.ctl(args, { timeoutMs: OPERATOR_LIMIT_MS }).then(({ code, stdout, stderr }) => {
        const said = (stderr.trim() || stdout.trim()).split('\n').at(-1) ?? '';
        this.options.say(`         pgha-ctl ${args.join(' ')}: exit ${code}: ${said}`);
      }),
    );
    return { what: `pgha-ctl ${args.join(' ')}` };
  }

  /** null: nobody of that kind is there. */
  private async target(whom: Whom, which: number): Promise<Node | null> {
    const { cluster } = this;
    const [primary] = await cluster.primaries();
    const nodes = cluster.nodes.filter(({ name }) => whom === 'any' || (whom === 'primary') === (name === primary));
    return nodes[Math.floor(which * nodes.length)] ?? null;
  }

  /** Nothing is wrong any more that we have done; what is still wrong after that is pgha's to mend. */
  private async calm(): Promise<void> {
    for (const open of this.open.splice(0).toReversed()) await this.attemptUndo(open);
    const { cluster } = this;
    for (const [name, disk] of this.disks) this.healDisk(name, disk);
    for (const clock of this.clocks.values()) clock.set(0);
    cluster.network.healAll();
    for (const { name } of cluster.etcd.members) {
      cluster.etcd.thawMember(name);
      cluster.etcd.startMember(name);
    }
    for (const node of cluster.nodes) {
      const guard = node.guard();
      if (guard !== null) signal(guard, 'SIGCONT');
      node.daemon.thaw();
      node.daemon.start();
      cluster.thawFamily(node.name);
    }
  }

  // ---- judging ----------------------------------------------------------------------------------------------------

  /** A daemon that ends of itself is started again at once, and nobody would see what it could not bear. */
  private selfEnded(): string[] {
    return this.cluster.nodes.flatMap(({ name, daemon }) =>
      daemon.exits
        .splice(0)
        .filter((exit) => typeof exit === 'number' && exit !== 0)
        .map((exit) => `the daemon of ${name} ended of itself, exit code ${exit}`),
    );
  }

  /** A lost row is explained where a promotion after its acknowledgement was said to have cost something. */
  private async unexplained({ lost }: Verdict, report: WriterReport): Promise<string[]> {
    const say = (rows: readonly string[]): string => `${rows.length} acknowledged rows are lost, ${rows[0]} first`;
    if (!this.options.mayLose) return [say(lost)];
    const told = Math.max(0, ...this.cluster.nodes.flatMap((node) => lossesTold(node.logText())));
    const watched = await this.cluster.watched();
    const gone = new Set(lost);
    const untold = report.acked.filter((row) => {
      if (!gone.has(row.row)) return false;
      const timeline = timelineOf(row, watched);
      return timeline === null || told <= timeline;
    });
    const rows = untold.map(({ row, server }) => `${row} on ${server}`);
    return rows.length === 0 ? [] : [`${say(rows)}, and no later primary says that any may be`];
  }

  /** Every standby has to hold what the primary holds. */
  private async differences({ read }: Verdict): Promise<string[]> {
    const found: string[] = [];
    const count = async (name: string): Promise<number> => {
      const [row] = await this.cluster.sql<{ rows: string }>(name, 'select count(*) as rows from e2e_ledger', 30_000);
      return Number(row?.rows);
    };
    const primary = await this.cluster.primary();
    const there = await count(primary);
    if (there < read) found.push(`${primary} counts ${there} rows, and ${read} were read from it`);
    for (const { name } of this.cluster.others(primary)) {
      const rows = await until(`${name} answers`, 10_000, () => count(name));
      if (rows !== there) found.push(`${name} holds ${rows} rows, ${primary} ${there}`);
    }
    return found;
  }
}

/** Some process of its Postgres, not the postmaster. */
function processOf(node: Node, which: number): ProcessId | null {
  const postmaster = node.postmaster();
  const children = node.family().filter(({ pid }) => pid !== postmaster?.pid);
  return children[Math.floor(which * children.length)] ?? null;
}

/** Takes every block that is left, root's own too. */
function fill(disk: Disk): void {
  const filler = join(disk.path, FILLER);
  const { bfree, bsize } = statfsSync(disk.path);
  // At once what there surely is, and then to the last block. Both end with an error: that is how one knows.
  const commands = `fallocate -l ${Math.floor(bfree * 0.97) * bsize} '${filler}'; cat /dev/zero >> '${filler}'; true`;
  execFileSync('sh', ['-c', commands], { stdio: 'ignore', timeout: 20_000 });
}

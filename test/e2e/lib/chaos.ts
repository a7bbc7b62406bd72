/**
 * Chaos: carries a plan of faults out on a real cluster under a writer, calms everything down after each round, and then
 * reads what became of every row, on every node. It judges by what clients and etcd can see, not by what daemons say of
 * themselves; only for rows lost in asynchronous mode their logs have to have said that it may be so.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { FaultKind, PlannedFault, Round, Whom } from './chaos-plan.ts';
import { Cluster, type Node } from './cluster.ts';
import { Disk, disksUnavailable } from './disk.ts';
import { longestPause, type Verdict } from './ledger.ts';
import { signal } from './processes.ts';
import { openRun, runDirectory } from './run.ts';
import { monotonic, sleep, until } from './time.ts';

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
  /** What was done to whom, or why nothing was. */
  readonly what: string;
}

export interface RoundReport {
  readonly round: number;
  readonly injected: readonly Injected[];
  readonly verdict: Verdict;
  readonly longestPauseMs: number;
  /** From the last fault's end until everybody streams again. */
  readonly calmAfterMs: number;
  readonly from: string;
  readonly to: string;
  /** Broken promises; empty is good. */
  readonly broken: readonly string[];
}

type Undo = () => void | Promise<void>;
/** What was done, and how it is undone; null: nothing could be done. */
type Deed = { readonly what: string; readonly undo?: Undo } | null;

/** Everything has to be well again within this time, whatever the round has done: a copy of the database is in it. */
const CALM_LIMIT_MS = 120_000;
const OPERATOR_LIMIT_MS = 30_000;
const FILLER = 'filler';

export class Chaos {
  readonly cluster: Cluster;
  private readonly disks: ReadonlyMap<string, Disk>;
  private readonly options: ChaosOptions;
  /** What is wrong now, in the order in which it was done. */
  private open: { readonly key: string; readonly undo: Undo }[] = [];
  private readonly sickDisks = new Set<string>();
  private readonly asides: Promise<unknown>[] = [];

  private constructor(cluster: Cluster, disks: ReadonlyMap<string, Disk>, options: ChaosOptions) {
    this.cluster = cluster;
    this.disks = disks;
    this.options = options;
  }

  static async start(options: ChaosOptions): Promise<Chaos> {
    openRun();
    const noDisks = disksUnavailable();
    if (noDisks !== null) options.say(`without faults of disks: ${noDisks}`);
    const disks = new Map<string, Disk>();
    const place = join(runDirectory, 'chaos');
    const cluster = await Cluster.start({
      nodes: options.nodes,
      etcdMembers: 3,
      directory: place,
      dcs: options.dcs,
      parameters: { max_wal_size: '128MB', wal_keep_size: '64MB' },
      node: (name) => {
        if (noDisks === null) disks.set(name, Disk.at(join(place, name, 'data')));
        return {};
      },
    });
    return new Chaos(cluster, disks, options);
  }

  async run(round: Round): Promise<RoundReport> {
    const { cluster } = this;
    const logsBefore = this.lossesSaid();
    await cluster.startWriter({ sessions: 4, everyMs: 10 });
    const from = await cluster.primary();
    const began = monotonic();
    const injected: Injected[] = [];
    const timers: Promise<void>[] = [];
    for (const fault of round.faults) {
      await sleep(Math.max(0, began + fault.at - monotonic()));
      const done = await this.inject(fault);
      const at = Math.round(monotonic() - began);
      injected.push({
        kind: fault.kind,
        at,
        until: done.undone === null || fault.lasts === null ? null : at + fault.lasts,
        what: done.what,
      });
      this.options.say(`${(at / 1000).toFixed(1).padStart(5)} s  ${fault.kind}: ${done.what}`);
      if (done.undone !== null && fault.lasts !== null) {
        timers.push(sleep(fault.lasts).then(() => this.undo(done.undone ?? '')));
      }
    }
    await Promise.all(timers);
    await this.calm();
    return await this.judgeRound(round, { injected, from, began, logsBefore, calmFrom: monotonic() });
  }

  private async judgeRound(
    round: Round,
    facts: {
      readonly injected: readonly Injected[];
      readonly from: string;
      readonly began: number;
      readonly logsBefore: number;
      readonly calmFrom: number;
    },
  ): Promise<RoundReport> {
    const { cluster } = this;
    await cluster.waitForPrimary(CALM_LIMIT_MS);
    await cluster.waitForWrites(20, CALM_LIMIT_MS);
    await cluster.waitAllStreaming(CALM_LIMIT_MS);
    const calmAfterMs = monotonic() - facts.calmFrom;
    await Promise.all(this.asides.splice(0));
    const report = await cluster.stopWriter();
    await cluster.waitAllStreaming(CALM_LIMIT_MS);
    const verdict = await cluster.finalRead(report);
    const broken = [...(await cluster.twoWriters())];
    if (verdict.phantom.length > 0) broken.push(`${verdict.phantom.length} rows that were refused or never attempted`);
    if (verdict.lost.length > 0) broken.push(...this.unexplained(verdict, facts.logsBefore));
    broken.push(...(await this.differences(verdict)));
    return {
      round: round.number,
      injected: facts.injected,
      verdict,
      longestPauseMs: longestPause(report.acked, facts.began)?.ms ?? 0,
      calmAfterMs,
      from: facts.from,
      to: await cluster.primary(),
      broken,
    };
  }

  async destroy(): Promise<void> {
    for (const disk of this.disks.values()) disk.thaw();
    await this.cluster.destroy();
    for (const disk of this.disks.values()) disk.remove();
  }

  // ---- one fault --------------------------------------------------------------------------------------------------

  private async inject(fault: PlannedFault): Promise<{ readonly what: string; readonly undone: string | null }> {
    const deed = await this.deed(fault).catch((error: unknown) => ({ what: `could not be done: ${String(error)}` }));
    if (deed === null) return { what: 'nothing, there is nobody whom it could meet now', undone: null };
    if (!('undo' in deed) || deed.undo === undefined) return { what: deed.what, undone: null };
    const key = `${fault.kind} ${deed.what} ${fault.at}`;
    this.open.push({ key, undo: deed.undo });
    return { what: deed.what, undone: key };
  }

  private async undo(key: string): Promise<void> {
    const found = this.open.find((one) => one.key === key);
    if (found === undefined) return;
    this.open = this.open.filter((one) => one !== found);
    await found.undo();
  }

  private async deed({ kind, whom, which }: PlannedFault): Promise<Deed> {
    if (kind.startsWith('etcd-') && kind !== 'etcd-cut') return this.toEtcd(kind, which);
    const node = await this.target(whom, which);
    if (node === null) return null;
    if (kind.startsWith('operator-')) return this.byOperator(kind, node);
    return (await this.toProcesses(kind, node)) ?? this.toNetwork(kind, node, which) ?? this.toDisk(kind, node);
  }

  private async toProcesses(kind: FaultKind, node: Node): Promise<Deed> {
    const { cluster } = this;
    switch (kind) {
      case 'postmaster-killed': {
        const id = node.postmaster();
        return id !== null && signal(id, 'SIGKILL') ? { what: node.name } : null;
      }
      case 'backend-killed': {
        const postmaster = node.postmaster();
        const child = node.family().find(({ pid }) => pid !== postmaster?.pid);
        return child !== undefined && signal(child, 'SIGKILL') ? { what: node.name } : null;
      }
      case 'postgres-frozen':
        cluster.freezeFamily(node.name);
        return { what: node.name, undo: () => cluster.thawFamily(node.name) };
      case 'daemon-killed':
        node.daemon.kill();
        return { what: node.name };
      case 'daemon-frozen':
        node.daemon.freeze();
        return { what: node.name, undo: () => node.daemon.thaw() };
      case 'guard-killed': {
        const id = node.guard();
        return id !== null && signal(id, 'SIGKILL') ? { what: node.name } : null;
      }
      case 'node-lost':
        if (node.daemon.id() === null) return null;
        this.disks.get(node.name)?.thaw();
        await cluster.killNode(node.name);
        return { what: node.name, undo: () => cluster.reviveNode(node.name) };
      default:
        return null;
    }
  }

  private toNetwork(kind: FaultKind, node: Node, which: number): Deed {
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
      case 'link-slow':
        network.slow(node.name, 1_000);
        return { what: `${node.name} at 1 Mbit/s`, undo: () => network.fast(node.name) };
      default:
        return null;
    }
  }

  private toDisk(kind: FaultKind, node: Node): Deed {
    const disk = this.disks.get(node.name);
    // On a frozen disk even the filler could neither be made nor removed.
    if (disk === undefined || this.sickDisks.has(node.name)) return null;
    if (kind === 'disk-frozen') disk.freeze();
    else if (kind === 'disk-full') fill(disk);
    else return null;
    this.sickDisks.add(node.name);
    const undo = (): void => {
      this.sickDisks.delete(node.name);
      if (kind === 'disk-frozen') disk.thaw();
      else rmSync(join(disk.path, FILLER), { force: true });
    };
    return { what: node.name, undo };
  }

  private async toEtcd(kind: FaultKind, which: number): Promise<Deed> {
    const { etcd } = this.cluster;
    const member = etcd.members[Math.floor(which * etcd.members.length)];
    if (member === undefined) return null;
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
        return null;
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
    if (args === undefined) return null;
    this.asides.push(
      cluster.ctl(args, { timeoutMs: OPERATOR_LIMIT_MS }).then(({ code, stdout, stderr }) => {
        const said = `${stdout}\n${stderr}`.trim().split('\n').at(-1) ?? '';
        this.options.say(`         pgha-ctl ${args.join(' ')}: exit ${code}: ${said}`);
      }),
    );
    return { what: `pgha-ctl ${args.join(' ')}` };
  }

  /** Who has not been harmed in this way yet; null: nobody of that kind is there. */
  private async target(whom: Whom, which: number): Promise<Node | null> {
    const { cluster } = this;
    const [primary] = await cluster.primaries();
    const nodes = cluster.nodes.filter(({ name }) => whom === 'any' || (whom === 'primary') === (name === primary));
    return nodes[Math.floor(which * nodes.length)] ?? null;
  }

  /** Nothing is wrong any more that we have done; what is still wrong after that is pgha's to mend. */
  private async calm(): Promise<void> {
    for (const { undo } of this.open.splice(0).toReversed()) await undo();
    const { cluster } = this;
    cluster.network.healAll();
    for (const node of cluster.nodes) {
      node.daemon.thaw();
      node.daemon.start();
      cluster.thawFamily(node.name);
    }
  }

  // ---- judging ----------------------------------------------------------------------------------------------------

  private lossesSaid(): number {
    return this.cluster.nodes
      .map((node) => node.logText().split('failover.loss-possible').length - 1)
      .reduce((sum, n) => sum + n, 0);
  }

  private unexplained({ lost }: Verdict, logsBefore: number): string[] {
    const rows = `${lost.length} acknowledged rows are lost, ${lost[0]} first`;
    if (!this.options.mayLose) return [rows];
    return this.lossesSaid() > logsBefore ? [] : [`${rows}, and no log says that any may be`];
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

/** Takes every block that is left, root's own too. */
function fill(disk: Disk): void {
  const filler = join(disk.path, FILLER);
  const { bfree, bsize } = statfsSync(disk.path);
  // At once what there surely is, and then to the last block. Both end with an error: that is how one knows.
  const commands = `fallocate -l ${Math.floor(bfree * 0.97) * bsize} '${filler}'; cat /dev/zero >> '${filler}'; true`;
  execFileSync('sh', ['-c', commands], { stdio: 'ignore', timeout: 20_000 });
}

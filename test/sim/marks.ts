/**
 * Marks: facts that have to occur in some run of a CI's seeds, or a rule is dead, or a fault is missing. Every rule,
 * every event of the log and every event of the cluster is one by itself; the others are named here.
 */
import { CLUSTER_EVENTS } from '../../src/core/cluster-events.ts';
import { RULES } from '../../src/core/rules.ts';
import { EVENTS } from '../../src/log/events.ts';
import { SICKNESSES } from './plan.ts';

/** What the world marks beside rules, events, faults and requests. */
const NAMED = [
  'a standby became consistent with WAL that it received',
  'a promotion under way was ended',
  'a rescue was cut off half way',
  'a rescue went to another candidate',
  'brought along: running primary',
  'brought along: stopped primary',
  'brought along: stopped standby',
  'clients were held back',
  'copy cut off',
  'daemon ended in the middle of work',
  'daemon woke after its window',
  'excused: neither guard nor daemon was there',
  'guard armed itself from its file',
  'guard cut its deadline after a suspension',
  'guard fired',
  'guard stopped an unvouched primary',
  'ip hung',
  'key by acquire',
  'key by retake',
  'key by swap',
  'key by take-over',
  'known limitation: timeline number given twice',
  'maintenance began while nobody led',
  'new cluster set aside',
  'orphans committed',
  'own key found',
  'promotion with everything acknowledged synchronously',
  'rewound',
  'rewound, with WAL to come',
  'sync set shrunk with a commit waiting',
  'the sync key changed hands',
  'timeline number given twice, at different positions',
  'wall clock jumped over a TTL',
  'window closed between winning and promoting',
] as const;

/** Each kind of fault, and each kind of request that can go wrong. */
const FAULTS = [
  'backend-crash',
  'check-fails',
  'connections-full',
  'cut',
  'daemon-kill',
  'daemon-pause',
  'daemon-restart',
  'daemon-stop',
  'directory-unusable',
  'etcd-early-revocation',
  'etcd-freeze',
  'etcd-isolate',
  'etcd-kill',
  'etcd-move-leader',
  'etcd-no-space',
  'etcd-restore',
  'etcd-stuck-leader',
  'etcd-wipe',
  'failover-by-hand',
  'foreign-data',
  'garbage',
  'guard-kill',
  'guard-pause',
  'machine-suspend',
  'maintenance',
  'postgres-crash',
  'postgres-hang',
  'postmaster-kill',
  'power-loss',
  'promotions-fail',
  'reinitialize',
  'reload',
  'request',
  'restart',
  'scheduled-switchover',
  'settings',
  'sick',
  'split',
  'starts-fail',
  'switchover',
  'ttl',
  'wal-unreadable',
  'wall-step',
] as const;

const SICK = SICKNESSES.map((of) => `sick ${of}`);

const REQUESTS = [
  'acquire answer-lost',
  'acquire late',
  'acquire slow',
  'beat answer-lost',
  'beat late',
  'beat lost',
  'beat slow',
  'keepalive lost',
  'keepalive slow',
  'release answer-lost',
  'release late',
  'release lost',
  'sync answer-lost',
  'sync late',
  'sync lost',
] as const;

/** What operators asked for, and what they were told. */
const ANSWERS = [
  'failover done',
  'failover refused',
  'reinitialize done',
  'reinitialize refused',
  'restart done',
  'schedule-restart accepted',
  'scheduled switchover scheduled',
  'settings stored',
  'switchover done',
  'switchover refused',
  'withdrawal done',
] as const;

/** What each invariant was really looked at for (`checked` in its class): one that never is says nothing. */
const CHECKED = [
  'L1 a leader after the healing',
  'L2 all stream after the healing',
  'L2 it stays as it is',
  'L3 nobody is held back',
  'C1 transactions end before the stop',
  'P1 a status while its writer writes',
  'P1 after the hold of another one',
  'P2 what the daemon believes',
  'P2 what the guard was told',
  'P3 a leader in maintenance',
  'P3 the hold of another one',
  'P4 a release was sent',
  'S1 a writer was counted',
  'S10 a lease is revoked',
  'S10 conditions of a write',
  'S11 an answer of 200',
  'S12 a promotion in maintenance',
  'S12 another location takes over',
  'S12 failover is manual and nobody leads',
  'S12 in maintenance something was to be done',
  'S12 nobody leads, and one is there that may not',
  'S12 receivers have ended',
  'S12 the validation command was asked',
  'S13 nothing has changed',
  'S14 something was counted',
  'S16 a sick leader gives up',
  'S16 somebody who is sick could be elected',
  'S2 armed before it writes',
  'S2 the lease of a writer',
  'S3 a promotion begins',
  'S3 a promotion takes effect',
  'S5 how much a promotion loses',
  'S5 only Postgres processes died',
  'S5 what is said of a promotion',
  'S7 somebody keeps the data',
  'S7 the source leads',
  'S8 a stream goes on from what is there',
  'S9 data of another cluster',
  'S9 no new cluster over old data',
  'S9 the scope keeps its cluster',
  'V1 somebody has the address',
  'V2 the leader has the address',
] as const;

export const DECLARED: readonly string[] = [
  ...Object.keys(RULES).map((rule) => `rule ${rule}`),
  ...Object.keys(EVENTS).map((event) => `event ${event}`),
  ...Object.keys(CLUSTER_EVENTS).map((event) => `cluster event ${event}`),
  ...FAULTS.map((fault) => `fault ${fault}`),
  ...SICK,
  ...REQUESTS.map((request) => `request ${request}`),
  ...ANSWERS,
  ...CHECKED.map((what) => `checked ${what}`),
  ...NAMED,
];

const AUDIT = 'simulated operators do not ask over HTTP; test/unit has those that do';
const SHADOW =
  'nobody is adopted in the simulation; test/unit/core/situations/shadow.ts and test/e2e/adopt.test.ts have it';
const ADAPTER = 'written by an adapter, which is not simulated; test/contract and test/e2e have it';

const WATCHDOG = 'there is no simulated device; test/unit and test/contract have one';
const ANOTHER_CLUSTER =
  'the simulated world has one cluster; test/unit and test/e2e/standby-cluster.test.ts have one that follows another';
const SLOTS = 'logical slots and the removal of WAL are not simulated; test/unit and test/contract have them';

/** Marks that no seed has to reach, each with its reason. */
export const NOT_REACHED: Readonly<Record<string, string>> = {
  'event daemon.started': ADAPTER,
  'event daemon.stopped': ADAPTER,
  'event daemon.reloaded': ADAPTER,
  'event restart.accepted': 'programs on disk are not simulated; test/e2e has them',
  'event restart.refused': 'programs on disk are not simulated; test/e2e has them',
  'event pooler.unknown':
    'all simulated nodes have the same file; test/unit/agent/poolers.test.ts has one with another',
  'event haproxy.unheard': ADAPTER,
  'event request.answered': AUDIT,
  'event request.denied': AUDIT,
  'rule shadow.watching': SHADOW,
  'rule shadow.would-start': SHADOW,
  'rule shadow.would-fail-over': SHADOW,
  'rule shadow.foreign': SHADOW,
  'event postgres.outgrown': 'limits that a standby must not have less of are not simulated; contract tests have them',
  'event dcs.version-known-bad': ADAPTER,
  'event dcs.went-silent': ADAPTER,
  'event dcs.answered-again': ADAPTER,
  'event guard.started': ADAPTER,
  'event guard.replaced': ADAPTER,
  'event guard.kept': ADAPTER,
  'event guard.suspended': ADAPTER,
  'event state.unreadable': ADAPTER,
  'event command.distrusted': ADAPTER,
  'rule node.name-taken': 'two machines of one name are not simulated; test/unit has them',
  'checked S10 a lease is revoked': 'a daemon revokes no lease at all; should it begin to, this is looked at',
  'event copy.method-failed': ADAPTER,
  'event watchdog.usable': WATCHDOG,
  'event watchdog.unusable': WATCHDOG,
  'rule following.archive': 'archives are not simulated; test/unit has a standby that is fed by one',
  ...Object.fromEntries(
    Object.keys(RULES)
      .filter((rule) => rule.startsWith('standby-leader.'))
      .map((rule) => [`rule ${rule}`, ANOTHER_CLUSTER]),
  ),
  'event slot.copied': SLOTS,
  'event slot.position-lost': SLOTS,
  'event slot.unproven': SLOTS,
  'event slot.holds-wal': SLOTS,
  'event slot.eased': SLOTS,
  'event slot.names-clash': 'the names of simulated members do not clash; test/unit has them',
  'guard stopped an unvouched primary':
    'no plan starts a guard without its daemon beside a primary; test/contract does',
};

/** Reached by one seed of a thousand or less: neither demanded nor in the way. */
export const RARELY: Readonly<Record<string, string>> = {
  'rule maintenance.makes-way':
    'nobody promotes by hand in the simulation, and an etcd restored in maintenance seldom brings the key to another one; test/e2e/maintenance.test.ts does',
  'rule rejoin.too-much':
    'an older primary alone in an emptied etcd, and somebody with commits of more than a minute; a plan in test/sim/regressions has it',
  'rule rejoin.stuck': 'a rewind that fails where no copy is allowed; test/unit has it',
  'event scope.restored':
    'foreign data, and etcd emptied while the leader stands still; a plan of test/sim/regressions does',
};

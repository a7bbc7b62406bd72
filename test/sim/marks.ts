/**
 * Marks: facts that have to occur in some run of a CI's seeds, or a rule is dead, or a fault is missing. Every rule,
 * every event of the log and every event of the cluster is one by itself; the others are named here.
 */
import { CLUSTER_EVENTS } from '../../src/core/cluster-events.ts';
import { RULES } from '../../src/core/rules.ts';
import { EVENTS } from '../../src/log/events.ts';

/** What the world marks beside rules, events, faults and requests. */
const NAMED = [
  'a promotion under way was ended',
  'brought along: running primary',
  'brought along: stopped primary',
  'brought along: stopped standby',
  'copy cut off',
  'daemon ended in the middle of work',
  'daemon woke after its window',
  'excused: neither guard nor daemon was there',
  'guard armed itself from its file',
  'guard cut its deadline after a suspension',
  'guard fired',
  'guard stopped an unvouched primary',
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
  'split',
  'starts-fail',
  'switchover',
  'ttl',
  'wal-unreadable',
  'wall-step',
] as const;

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
  'scheduled switchover scheduled',
  'settings stored',
  'switchover done',
  'switchover refused',
  'withdrawal done',
] as const;

export const DECLARED: readonly string[] = [
  ...Object.keys(RULES).map((rule) => `rule ${rule}`),
  ...Object.keys(EVENTS).map((event) => `event ${event}`),
  ...Object.keys(CLUSTER_EVENTS).map((event) => `cluster event ${event}`),
  ...FAULTS.map((fault) => `fault ${fault}`),
  ...REQUESTS.map((request) => `request ${request}`),
  ...ANSWERS,
  ...NAMED,
];

const ADAPTER = 'written by an adapter, which is not simulated; test/contract and test/e2e have it';

/** Marks that no seed has to reach, each with its reason. */
export const NOT_REACHED: Readonly<Record<string, string>> = {
  'event daemon.started': ADAPTER,
  'event daemon.stopped': ADAPTER,
  'event daemon.reloaded': ADAPTER,
  'event dcs.version-known-bad': ADAPTER,
  'event dcs.went-silent': ADAPTER,
  'event dcs.answered-again': ADAPTER,
  'event guard.started': ADAPTER,
  'event guard.replaced': ADAPTER,
  'event guard.suspended': ADAPTER,
  'event state.unreadable': ADAPTER,
  'event command.distrusted': ADAPTER,
  'rule node.name-taken': 'two machines of one name are not simulated; test/unit has them',
  'rule leaderless.primary-alive':
    'whoever says that he is a writable primary has an open window, and then no gate of another is open; test/unit has it',
};

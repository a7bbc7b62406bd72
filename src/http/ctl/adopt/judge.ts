/**
 * What stands against taking a running cluster over, each with what to type. Pure. Anything critical means that nothing
 * is begun: the cluster goes on under whoever runs it now.
 */
import { printLsn } from '../../../core/lsn.ts';
import type { Finding } from '../check/finding.ts';
import type { AdoptionFacts, MemberFacts, RepmgrNode } from './facts.ts';

/** primary_conninfo is taken over by a reload from here on. */
const RELOADABLE_UPSTREAM = 130_000;
/** Bytes that a standby may be behind when it begins. */
const MOST_LAG = 16 * 2 ** 20;

export function judgeAdoption(facts: AdoptionFacts): readonly Finding[] {
  const { members, view, scope, origin } = facts;
  if (view.leader !== null)
    return [bad('cluster', `${view.leader.name} leads ${scope} under pgha already: it is taken over`, 'pgha-ctl list')];
  if (members.length === 0)
    return [
      bad(
        'members',
        `no daemon of pgha watches cluster ${scope}`,
        `on each node: \`adopt_from: ${origin}\` in /etc/pgha/pgha.yml, then systemctl start pgha`,
      ),
    ];
  return [
    ...judgePrimary(facts),
    ...judgeIdentity(facts),
    ...members.flatMap((one) => [...judgeDaemon(facts, one), ...judgeServer(facts, one)]),
    ...judgeRepmgr(facts),
  ];
}

const bad = (about: string, said: string, todo?: string): Finding =>
  todo === undefined ? { level: 'critical', about, said } : { level: 'critical', about, said, todo };
const good = (about: string, said: string): Finding => ({ level: 'ok', about, said });
const warning = (about: string, said: string, todo: string): Finding => ({ level: 'warning', about, said, todo });

const isPrimary = ({ server, daemon }: MemberFacts): boolean =>
  typeof server === 'string' ? daemon?.postgres === 'primary' : !server.inRecovery;

export const primariesOf = ({ members }: AdoptionFacts): readonly MemberFacts[] => members.filter(isPrimary);

function judgePrimary(facts: AdoptionFacts): readonly Finding[] {
  const [primary, ...more] = primariesOf(facts);
  if (primary === undefined)
    return [
      bad(
        'primary',
        'none of the members is a primary: a failover may be under way, or the primary runs without pgha',
        'wait until it is over, or start pgha on the node of the primary; then check again',
      ),
    ];
  if (more.length > 0) {
    const names = [primary, ...more].map(({ member }) => member.name).join(' and ');
    return [
      bad(
        'primary',
        `${names} are both primaries`,
        'stop the wrong one, and bring it back as a standby with `repmgr node rejoin`; then check again',
      ),
    ];
  }
  return [good('primary', `${primary.member.name} is the primary`)];
}

function judgeIdentity({ members, view, scope }: AdoptionFacts): readonly Finding[] {
  const ids = new Map<string, string[]>();
  for (const { member, server, daemon } of members) {
    const id = typeof server === 'string' ? daemon?.systemId : server.systemId;
    if (id != null) ids.set(id, [...(ids.get(id) ?? []), member.name]);
  }
  const findings: Finding[] = [];
  if (ids.size > 1) {
    const who = [...ids].map(([id, names]) => `${names.join(', ')}: ${id}`).join('; ');
    findings.push(
      bad(
        'identity',
        `the members are not one cluster, by their system identifiers (${who})`,
        `give the other one a \`scope\` of its own`,
      ),
    );
  }
  const named = view.initialize?.value ?? '';
  const own = ids.size === 1 ? ([...ids.keys()][0] ?? '') : '';
  if (named !== '' && own !== '' && named !== own)
    findings.push(
      bad(
        'identity',
        `${scope} stands in etcd as the cluster with system identifier ${named}, and these have ${own}`,
        `choose another \`scope\`; or, if that cluster is gone for good: pgha-ctl remove ${scope}`,
      ),
    );
  return findings.length > 0
    ? findings
    : [good('identity', `one cluster, ${own === '' ? 'of unknown identity' : own}`)];
}

function judgeDaemon({ members, origin }: AdoptionFacts, { member, daemon }: MemberFacts): readonly Finding[] {
  const about = member.name;
  if (daemon === null)
    return [bad(about, 'its daemon does not answer', `on ${about}: systemctl status pgha; pgha-ctl check network`)];
  if (daemon.situation !== 'shadow')
    return [
      bad(
        about,
        `its daemon does not only watch (${daemon.rule ?? 'nothing known'})`,
        `\`adopt_from: ${origin}\` in its pgha.yml, then: systemctl restart pgha`,
      ),
    ];
  if (daemon.rule !== 'shadow.watching')
    return [bad(about, daemon.reason, 'wait until it is over, or put it right; then check again')];
  if (daemon.postgres === 'primary')
    return daemon.gateMs === null || daemon.gateMs > 0
      ? [
          bad(
            about,
            `its daemon has not watched for one TTL yet`,
            `again in ${Math.max(1, Math.ceil((daemon.gateMs ?? 1_000) / 1_000))} s`,
          ),
        ]
      : [good(about, 'its daemon watches the primary')];
  if (daemon.postgres !== 'standby')
    return [
      bad(about, `its Postgres is ${daemon.postgres ?? 'unknown'}`, `start it, or stop pgha there and leave it out`),
    ];
  if (!daemon.receiving) return [bad(about, 'this standby receives nothing', 'bring its replication in order first')];
  if (daemon.loginWorks === false)
    return [
      bad(
        about,
        "the primary does not let pgha's login for replication in",
        'pg_hba.conf of the primary, and postgresql.authentication.replication in pgha.yml',
      ),
    ];
  const primary = members.find((one) => one.daemon?.postgres === 'primary');
  const timeline = primary?.daemon?.timeline ?? null;
  if (timeline !== null && daemon.timeline !== timeline)
    return [
      bad(
        about,
        `it is on timeline ${daemon.timeline ?? '?'}, the primary on ${timeline}`,
        'bring it back as a standby first',
      ),
    ];
  const end = primary?.member.xlogLocation ?? null;
  const at = member.xlogLocation;
  if (end !== null && at !== null && end - at > MOST_LAG)
    return [
      bad(
        about,
        `it is ${Math.round(Number(end - at) / 2 ** 20)} MB behind, at ${printLsn(at)}`,
        'wait until it has caught up',
      ),
    ];
  const findings = [good(about, `a standby that receives from ${daemon.upstream ?? '?'}`)];
  if (daemon.version !== null && daemon.version < RELOADABLE_UPSTREAM)
    findings.push(
      warning(
        about,
        'before PostgreSQL 13 a standby is restarted to be told whom to follow',
        'nothing; the primary is not restarted',
      ),
    );
  return findings;
}

function judgeServer({ members }: AdoptionFacts, { member, server }: MemberFacts): readonly Finding[] {
  if (typeof server === 'string')
    return [
      bad(
        member.name,
        `its Postgres does not let pgha's superuser in from here: ${server}`,
        'run this on a node whose address stands in pg_hba.conf, with its own pgha.yml',
      ),
    ];
  const free = server.maxSlots - server.slots;
  const needed = members.length - 1;
  if (free >= needed) return [];
  const said = `${server.slots} of ${server.maxSlots} replication slots are there; pgha makes ${needed} more on each node`;
  return [
    bad(
      member.name,
      said,
      'max_replication_slots takes a restart of Postgres: raise it before; or drop slots that nobody uses',
    ),
  ];
}

function judgeRepmgr(facts: AdoptionFacts): readonly Finding[] {
  const { nodes, members } = facts;
  if (nodes === null) return [];
  if (typeof nodes === 'string')
    return [
      bad(
        'repmgr',
        `repmgr's table cannot be read: ${nodes}`,
        '--repmgr-database names the database; without repmgr: --from streaming',
      ),
    ];
  if (nodes.length === 0)
    return [
      bad(
        'repmgr',
        "repmgr's table is empty",
        'repmgr primary register; or, if repmgr never ran here: --from streaming',
      ),
    ];
  return [
    ...nodes.flatMap((node) => judgeNode(facts, node)),
    ...members.flatMap(({ member, repmgrd }) => {
      if (repmgrd === null) return [];
      if (typeof repmgrd === 'string')
        return [
          bad(
            member.name,
            `repmgrd's state is not known: ${repmgrd}`,
            'shared_preload_libraries has to name repmgr where repmgrd runs',
          ),
        ];
      if (!repmgrd.running) return [good(member.name, 'no repmgrd runs there')];
      return [
        good(
          member.name,
          repmgrd.paused ? 'its repmgrd is paused' : 'its repmgrd runs; it is paused before anything else is done',
        ),
      ];
    }),
  ];
}

function judgeNode(facts: AdoptionFacts, node: RepmgrNode): readonly Finding[] {
  const about = `repmgr ${node.id}`;
  if (node.type === 'witness')
    return [
      warning(
        about,
        `${node.name} is a witness, of which pgha has no need`,
        `stop repmgrd there when all is done; docs/operations.md#a-witness`,
      ),
    ];
  const found = facts.members.find(
    ({ member }) => member.name === node.name || (member.host === node.host && member.port === node.port),
  );
  if (found === undefined)
    return [
      bad(
        about,
        `${node.name} (${node.host}:${node.port}) runs without pgha`,
        `start pgha there; or, if it is gone for good: repmgr standby unregister --node-id=${node.id}`,
      ),
    ];
  const primary = isPrimary(found);
  if (!node.active)
    return [
      bad(
        about,
        `repmgr has ${node.name} down as inactive`,
        `repmgr ${primary ? 'primary' : 'standby'} register -F on ${node.name}`,
      ),
    ];
  if ((node.type === 'primary') !== primary)
    return [
      bad(
        about,
        `repmgr has ${node.name} down as ${node.type}, and it is a ${primary ? 'primary' : 'standby'}: a failover is under way, or was never recorded`,
        `repmgr cluster show; then, on ${node.name}: repmgr ${primary ? 'primary' : 'standby'} register -F`,
      ),
    ];
  if (found.member.name !== node.name)
    return [
      warning(
        about,
        `it is ${node.name} for repmgr and ${found.member.name} for pgha`,
        `the same \`name\` in pgha.yml makes the way back easier`,
      ),
    ];
  return [];
}

/** After the way back: whether what repmgr has written down is true, and what to type where it is not. */
export function judgeReturn(
  nodes: readonly RepmgrNode[],
  servers: ReadonlyMap<number, { readonly inRecovery: boolean } | string>,
  repmgrd: ReadonlyMap<number, { readonly running: boolean } | string>,
): readonly Finding[] {
  const primary = nodes.filter(({ id }) => {
    const server = servers.get(id);
    return typeof server === 'object' && !server.inRecovery;
  });
  const [first, ...more] = primary;
  if (first === undefined)
    return [
      bad('primary', "none of the nodes in repmgr's table is a primary that answers", 'start Postgres there first'),
    ];
  if (more.length > 0)
    return [
      bad('primary', `${primary.map(({ name }) => name).join(' and ')} are both primaries`, 'stop the wrong one first'),
    ];
  const findings: Finding[] = [];
  // The primary's record first: the others are registered against it.
  for (const node of [first, ...nodes.filter((one) => one !== first)]) {
    const about = `repmgr ${node.id}`;
    const server = servers.get(node.id);
    if (node.type === 'witness') continue;
    if (server === undefined || typeof server === 'string') {
      findings.push(
        warning(
          about,
          `${node.name} does not answer: ${server ?? 'not asked'}`,
          `start it; if it is gone for good: repmgr standby unregister --node-id=${node.id}`,
        ),
      );
      continue;
    }
    const is = server.inRecovery ? 'standby' : 'primary';
    if (node.type !== is || !node.active || (is === 'standby' && node.upstreamId !== first.id))
      findings.push(
        bad(
          about,
          `repmgr has ${node.name} down as ${node.active ? '' : 'inactive '}${node.type}${node.upstreamId === null ? '' : ` below node ${node.upstreamId}`}, and it is a ${is}`,
          is === 'primary'
            ? `on ${node.name}: repmgr primary register -F`
            : `on ${node.name}: repmgr standby follow; repmgr standby register -F --upstream-node-id=${first.id}`,
        ),
      );
    else findings.push(good(about, `${node.name} is the ${is} that repmgr takes it for`));
    const daemon = repmgrd.get(node.id);
    if (typeof daemon === 'object' && !daemon.running)
      findings.push(
        warning(about, `no repmgrd runs on ${node.name}`, `on ${node.name}: systemctl enable --now repmgrd`),
      );
  }
  return findings;
}

/**
 * `explain`: which member could lead right now and which rule stops the others; with `--last` why the present leader
 * came to lead; with `--budget` what each failure costs at worst by the settings. Members judge for themselves, with the
 * very functions that decide; this asks them, and says of one that does not answer what etcd says of it.
 */
import { describeBudget } from '../../config/print.ts';
import { commandLimits, resolveCluster, resolveSettings } from '../../config/settings.ts';
import { budgets, type CommandLimits } from '../../core/budget.ts';
import type { ClusterView, Member } from '../../core/cluster.ts';
import { type DecisionRecord, readRecord, recordIn } from '../../core/decision-record.ts';
import { printLsn } from '../../core/lsn.ts';
import type { ClusterPolicy } from '../../core/policy.ts';
import { PghaError } from '../../errors.ts';
import { EXPLAIN_PATH, type ExplainDocument } from '../explain.ts';
import { messageOf } from './outcome.ts';
import { leaderOf, type Session } from './session.ts';
import { type Column, drawTable, printable } from './table.ts';
import { Misuse, Refusal } from './terminal.ts';

export interface ExplainOptions {
  readonly last?: boolean;
  readonly budget?: boolean;
  /** With `--budget`: the settings of the cluster that this file would make, instead of etcd's. */
  readonly config?: string;
  readonly format: 'pretty' | 'json' | 'yaml';
}

/** One that did not answer, as etcd knows it. */
interface Unanswered {
  readonly node: string;
  readonly answered: false;
  readonly said: string;
  readonly etcd: Readonly<Record<string, unknown>> | null;
}
type Explained = (ExplainDocument & { readonly answered: true }) | Unanswered;

export async function explain(session: Session, name: string | undefined, options: ExplainOptions): Promise<number> {
  if (options.budget === true) return await showBudget(session, name, options);
  if (options.config !== undefined) throw new Misuse('--config is for --budget only');
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  if (options.last === true) return await showLast(session, scope, view, options);
  const members = await Promise.all(view.members.map((member) => ask(session, member)));
  const leader = view.leader?.name ?? null;
  // A leader whose member key has run out would else be nowhere in the answer.
  if (leader !== null && leaderOf(view) === null)
    members.push({ node: leader, answered: false, said: 'it has the leader key and no member key', etcd: null });
  await print(session, options.format, { cluster: scope, leader, members }, () => pretty(scope, members));
  return 0;
}

async function ask(session: Session, member: Member): Promise<Explained> {
  const etcd = {
    role: member.role,
    state: member.replicationState ?? member.state,
    timeline: member.timeline,
    position: member.xlogLocation === null ? null : printLsn(member.xlogLocation),
    priority: member.pgha?.priority ?? null,
    nofailover: member.tags['nofailover'] === true,
  };
  const silent = (said: string): Unanswered => ({ node: member.name, answered: false, said, etcd });
  try {
    const { status, text } = await session.call(member, 'GET', EXPLAIN_PATH);
    const document = readDocument(text);
    // A Patroni member answers every path with its health.
    if (status !== 200 || document === null) return silent(`it runs no pgha that can explain itself (HTTP ${status})`);
    if (document.node !== member.name) return silent(`${document.node} answers at its address`);
    return { ...document, answered: true };
  } catch (error) {
    return silent(messageOf(error));
  }
}

/** Of whatever version: what it does not say is not known. */
function readDocument(text: string): ExplainDocument | null {
  try {
    const value = JSON.parse(text) as Partial<ExplainDocument> | null;
    const texts = [value?.node, value?.sentence, value?.verdict, value?.rule];
    if (!isObject(value) || !isObject(value.numbers) || !texts.every((one) => typeof one === 'string')) return null;
    const document = value as ExplainDocument;
    const slots = Array.isArray(document.slots) ? document.slots.map(String) : [];
    const sick = Array.isArray(document.sick) ? document.sick.map(String) : [];
    return { ...document, slots, sick, leadership: isObject(document.leadership) ? document.leadership : null };
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const left = (title: string): Column => ({ title, key: title, align: 'left' });
const right = (title: string): Column => ({ title, key: title, align: 'right' });

const VERDICTS: Readonly<Record<string, string>> = {
  leads: 'leads',
  first: 'yes, at once',
  'after-others': 'yes, after others',
  no: 'no',
};

function pretty(scope: string, members: readonly Explained[]): string {
  const table = drawTable(
    ` Cluster: ${scope} `,
    [
      left('Member'),
      left('Could lead'),
      left('Rule'),
      right('TL'),
      left('Position'),
      right('Lag'),
      right('Priority'),
      right('Window'),
    ],
    members.map((member) => {
      if (!member.answered) {
        const { timeline, position, priority } = member.etcd ?? {};
        return [member.node, 'does not answer', '', cell(timeline), cell(position), '', cell(priority), ''];
      }
      const { numbers, leadership } = member;
      const window = leadership === null ? '' : cell(leadership['guard_strikes_in_ms']);
      return [
        member.node,
        Object.hasOwn(VERDICTS, member.verdict) ? cell(VERDICTS[member.verdict]) : member.verdict,
        member.rule,
        cell(numbers['timeline']),
        cell(numbers['position']),
        cell(numbers['lag_bytes']),
        cell(numbers['priority']),
        window === '' ? '' : `${window} ms`,
      ];
    }),
  );
  const lines = members.flatMap((member) =>
    member.answered
      ? [member.sentence, ...[...member.sick, ...member.slots].map((said) => `${member.node}: ${said}.`)]
      : [unanswered(member)],
  );
  return [table, ...lines.map((line) => `- ${line}`)].join('\n');
}

function unanswered({ node, said, etcd }: Unanswered): string {
  const known =
    etcd === null
      ? ''
      : ` In etcd it is ${cell(etcd['role'])}, ${cell(etcd['state'])}, timeline ${cell(etcd['timeline']) || 'unknown'}, at ${cell(etcd['position']) || 'an unknown position'}.`;
  return `${node} does not answer: ${said}.${known}`;
}

const cell = (value: unknown): string => (value === null || value === undefined ? '' : String(value));

// ---- the last takeover ------------------------------------------------------------------------------------------------

async function showLast(session: Session, scope: string, view: ClusterView, options: ExplainOptions): Promise<number> {
  // etcd first: it is there when the leader of that time is gone. A leader keeps it in memory until etcd has it.
  const record = readRecord(view.lastTakeover) ?? (await fromLeader(session, view));
  if (record === null)
    throw new Refusal(`No takeover of cluster ${scope} is on record: none was done by pgha since its record is kept.`);
  await print(session, options.format, record, () => prettyRecord(record, view.leader?.name ?? null));
  return 0;
}

async function fromLeader(session: Session, view: ClusterView): Promise<DecisionRecord | null> {
  const leader = leaderOf(view);
  const said = leader === null ? null : await ask(session, leader);
  return said?.answered === true ? recordIn(said.last_takeover) : null;
}

const KINDS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    failover: 'the hold of the last leader had run out',
    'hand-over': 'the last leader gave the key up',
    switchover: 'an operator had asked for it',
    'failover-by-hand': 'an operator had named it',
    first: 'nobody had ever led',
  }),
);

function prettyRecord(record: DecisionRecord, leader: string | null): string {
  const from = record.previous === null || record.previous === record.node ? '' : ` from ${record.previous}`;
  const where =
    record.timeline === null ? '' : `, timeline ${record.timeline} from ${record.lsn ?? 'an unknown position'}`;
  const lines = [
    `${record.node} took over${from}, done at ${record.at}: ${KINDS.get(record.kind) ?? record.kind} (term ${record.term}${where}).`,
    `Decided by ${record.rule}: ${record.reason}.`,
  ];
  if (leader !== record.node)
    lines.push(leader === null ? 'Nobody leads now.' : `${leader} leads now; its own takeover is not on record.`);
  if (record.release !== null)
    lines.push(`Release record: WAL up to ${record.release.lsn}, for ${record.release.candidate ?? 'nobody by name'}.`);
  if (record.loss !== null) lines.push(`Loss: ${record.loss.sentence}.`);
  if (record.seen.length > 0)
    lines.push(
      `Last seen alive: ${record.seen.map(({ by, ms_before }) => `by ${by} ${ms_before} ms before the key was taken`).join(', ')}.`,
    );
  const tables = [
    record.ranking.length === 0
      ? ''
      : drawTable(
          ' Ranking ',
          [
            right('Place'),
            left('Member'),
            right('TL'),
            left('Position'),
            right('Priority'),
            right('node_id'),
            left('Location'),
          ],
          record.ranking.map((one, place) =>
            [place + 1, one.name, one.timeline, one.position, one.priority, one.node_id, one.location].map(cell),
          ),
        ),
    record.members.length === 0
      ? ''
      : drawTable(
          ' What the others said ',
          [left('Member'), left('Said'), right('TL'), left('Position')],
          record.members.map((one) => [one.name, one.said, one.timeline, one.position].map(cell)),
        ),
    record.steps.length === 0
      ? ''
      : [
          'What was decided when:',
          // No table: a reason may be longer than a screen is wide.
          ...record.steps.map(({ after_ms, rule, reason }) => `${`${after_ms} ms`.padStart(11)}  ${rule}: ${reason}`),
        ].join('\n'),
    drawTable(
      ' Phases ',
      [left('Phase'), right('Planned, at most'), right('Actual')],
      record.phases.map(({ phase, planned_ms, actual_ms }) => [
        phase,
        planned_ms === null ? 'as Postgres takes' : `${planned_ms} ms`,
        `${actual_ms} ms`,
      ]),
    ),
  ].filter((table) => table !== '');
  const end = [
    ...(record.judgement_ms === null
      ? []
      : [`From the open gate to the promotion being sent: ${record.judgement_ms} ms.`]),
    ...(record.followers.length === 0
      ? []
      : [
          `Followers: ${record.followers.map(({ name, after_ms }) => `${name} streamed after ${after_ms} ms`).join(', ')}.`,
        ]),
  ];
  return [...lines, ...tables, ...end].join('\n');
}

// ---- what failures cost -----------------------------------------------------------------------------------------------

async function showBudget(session: Session, name: string | undefined, options: ExplainOptions): Promise<number> {
  const { policy, commands, adjustments } =
    options.config === undefined ? await fromEtcd(session, name) : await fromFile(session, options.config);
  const all = budgets(policy, commands ?? undefined);
  const notes = [
    ...adjustments.map((line) => `Adjusted: ${line}`),
    ...(commands === null ? ["Commands of your own stand in each node's file: --config FILE counts them too."] : []),
  ];
  await print(session, options.format, { adjustments, failures: all }, () =>
    [...all.map((one) => describeBudget(one).join('\n')), ...notes].join('\n\n'),
  );
  return 0;
}

interface Times {
  readonly policy: ClusterPolicy;
  /** null: not known. */
  readonly commands: CommandLimits | null;
  readonly adjustments: readonly string[];
}

async function fromEtcd(session: Session, name: string | undefined): Promise<Times> {
  const view = await session.readExisting(await session.scope(name));
  const { cluster, adjustments } = resolveCluster(view.config?.value ?? null, {});
  return { policy: cluster, commands: null, adjustments };
}

async function fromFile(session: Session, path: string): Promise<Times> {
  const [{ withFiles }, { loadConfig }] = await Promise.all([
    import('../../config/files.ts'),
    import('../../config/load.ts'),
  ]);
  try {
    const { config } = await withFiles((files) => loadConfig({ path, env: session.terminal.env, ...files }));
    const { policy, adjustments } = resolveSettings(config.bootstrap.dcs, config);
    return { policy: policy.cluster, commands: commandLimits(config.commands), adjustments };
  } catch (error) {
    if (error instanceof PghaError) throw new Refusal(`${error.text.happened} ${error.text.todo}`);
    throw error;
  }
}

async function print(
  session: Session,
  format: ExplainOptions['format'],
  value: object,
  text: () => string,
): Promise<void> {
  if (format === 'pretty') session.terminal.out(printable(text()));
  else if (format === 'json') session.terminal.out(JSON.stringify(value));
  else session.terminal.out((await import('yaml')).stringify(value).trimEnd());
}

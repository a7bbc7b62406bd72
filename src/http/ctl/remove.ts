/**
 * `remove CLUSTER`: everything about a cluster in etcd. Touches no member: daemons that still run write their keys
 * anew. Asked for in words, because nothing brings it back.
 */
import { millis } from '../../core/time.ts';
import { membersText } from './member-table.ts';
import { type ActFormat, report } from './outcome.ts';
import { exists, type Session } from './session.ts';
import { prompt, Refusal } from './terminal.ts';

const AWARE = 'Yes I am aware';
/** etcd takes 128 operations in a transaction by default. */
const AT_ONCE = 100;
const LIMIT = millis(10_000);

export async function remove(
  session: Session,
  scope: string,
  options: { readonly format: ActFormat },
): Promise<number> {
  const { terminal } = session;
  const view = await session.readExisting(scope);
  if (options.format === 'pretty') terminal.out(await membersText([{ scope, view }], 'pretty'));
  const name = await prompt(terminal, 'Please confirm the cluster name to remove');
  if (name !== scope) throw new Refusal('The names are not the same: nothing was removed.');
  const sentence = await prompt(
    terminal,
    `You are about to remove all information in etcd for ${scope}, please type: "${AWARE}"`,
  );
  if (sentence !== AWARE) throw new Refusal('That is not the sentence: nothing was removed.');
  if (view.leader !== null) {
    const leader = await prompt(
      terminal,
      'This cluster currently is healthy. Please specify the leader name to continue',
    );
    if (leader !== view.leader.name) throw new Refusal('That is not its leader: nothing was removed.');
  }

  const ok = await removeKeys(session, scope);
  const said = ok
    ? `${scope} was removed from etcd`
    : `members of ${scope} still run and have written again: stop them first`;
  return report(
    session,
    options.format,
    [{ action: 'remove', ok, said }],
    (o) => `${o.ok ? 'Success' : 'Failed'}: ${o.said}`,
  );
}

/**
 * @returns false: members still run and have written again
 * @throws {Refusal} when etcd does not answer
 */
export async function removeKeys(session: Session, scope: string): Promise<boolean> {
  const store = await session.store(scope);
  const [all, told] = await Promise.all([store.read(LIMIT), store.chronicle.read(LIMIT)]);
  if (all.kind === 'unanswered') throw new Refusal(`etcd does not answer: ${all.cause}. Nothing was removed.`);
  if (told.kind === 'unanswered') throw new Refusal(`etcd does not answer: ${told.cause}. Nothing was removed.`);
  const keys = [...all.entries.map(({ key }) => key), ...told.entries.map(({ key }) => `pgha/${key}`)];
  for (let first = 0; first < keys.length; first += AT_ONCE) {
    const answer = await store.txn(
      {
        compare: [],
        success: keys.slice(first, first + AT_ONCE).map((key) => ({ op: 'delete', key })),
        failure: [],
      },
      LIMIT,
    );
    if (answer.kind !== 'answered') throw new Refusal(`etcd did not remove everything: ${answer.cause}. Try again.`);
  }
  return !exists(await session.read(scope));
}

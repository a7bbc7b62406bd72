/** Postgres may accept writes and must not. Needs nobody's agreement and waits for nothing. */
import { type Decision, decision } from '../decision.ts';
import type { View } from '../view.ts';

export function stopWriting(view: View): Decision {
  const { leadership } = view;
  const why =
    leadership.kind === 'none'
      ? (strangersServer(view) ?? 'Postgres may accept writes here, and this node holds no leader key')
      : leadership.releaseSent
        ? 'the release of the key was sent: nothing may be written any more'
        : 'the window of this leadership is closed: no proof came in time';
  return decision('fence.without-window', why, [{ do: 'stop-immediately' }]);
}

/** A server that was to be taken over, in a scope that is another cluster by now: what to do is not obvious. */
function strangersServer({ local, dcs }: View): string | null {
  if (local.kind !== 'primary' || dcs.kind === 'never-read') return null;
  const theirs = dcs.cluster.initialize?.value ?? '';
  if (theirs === '' || theirs === local.systemId) return null;
  return (
    `the server that runs here is of another cluster (system identifier ${local.systemId}) than this scope (${theirs}), and under one name only one may take writes: it is stopped, its data stay as they are. ` +
    'To go on with it, give it a `scope` of its own; if it is the one that counts here, stop the other members, run pgha-ctl remove, and start pgha here first'
  );
}

export function endOrphans(view: View): Decision {
  const count = view.local.kind === 'orphans' ? view.local.processes : 0;
  return decision(
    'fence.orphans',
    `the postmaster is gone; ${count} of its processes are left and may still commit: end them`,
    [{ do: 'end-family' }],
  );
}

/** Postgres may accept writes and must not. Needs nobody's agreement and waits for nothing. */
import { type Decision, decision } from '../decision.ts';
import type { View } from '../view.ts';

export function stopWriting(view: View): Decision {
  const { leadership } = view;
  const why =
    leadership.kind === 'none'
      ? 'Postgres may accept writes here, and this node holds no leader key'
      : leadership.releaseSent
        ? 'the release of the key was sent: nothing may be written any more'
        : 'the window of this leadership is closed: no proof came in time';
  return decision('fence.without-window', why, [{ do: 'stop-immediately' }]);
}

export function endOrphans(view: View): Decision {
  const count = view.local.kind === 'orphans' ? view.local.processes : 0;
  return decision(
    'fence.orphans',
    `the postmaster is gone; ${count} of its processes are left and may still commit: end them`,
    [{ do: 'end-family' }],
  );
}

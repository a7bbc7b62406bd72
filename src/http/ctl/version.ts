/** `version`: pgha-ctl's own, and that of each member asked about. */
import { PATRONI_LEVEL, PGHA_VERSION } from '../../version.ts';
import { type ActFormat, messageOf } from './outcome.ts';
import { pick, type Session, targets } from './session.ts';

export async function version(
  session: Session,
  words: readonly string[],
  options: { readonly format: ActFormat },
): Promise<number> {
  const { terminal } = session;
  const own = { 'pgha-ctl': PGHA_VERSION, interface: PATRONI_LEVEL };
  if (words.length === 0) {
    terminal.out(
      options.format === 'json'
        ? JSON.stringify(own)
        : `pgha-ctl version ${PGHA_VERSION} (Patroni interface ${PATRONI_LEVEL})`,
    );
    return 0;
  }
  const { scope, view, names } = await targets(session, words);
  const members = await Promise.all(
    pick(view, scope, names).map(async (member) => {
      try {
        const said = JSON.parse((await session.call(member, 'GET', '/patroni')).text) as Said;
        return {
          member: member.name,
          pgha: said.pgha?.version ?? null,
          patroni: said.patroni?.version ?? null,
          postgresql: said.server_version === undefined ? null : serverVersion(said.server_version),
          error: null,
        };
      } catch (error) {
        return { member: member.name, pgha: null, patroni: null, postgresql: null, error: messageOf(error) };
      }
    }),
  );
  if (options.format === 'json') {
    terminal.out(JSON.stringify({ ...own, members }));
  } else {
    terminal.out(`pgha-ctl version ${PGHA_VERSION} (Patroni interface ${PATRONI_LEVEL})\n`);
    for (const one of members) {
      const program = one.pgha === null ? `Patroni ${one.patroni ?? 'unknown'}` : `pgha ${one.pgha}`;
      terminal.out(
        one.error === null
          ? `${one.member}: ${program}, PostgreSQL ${one.postgresql ?? 'unknown'}`
          : `${one.member}: failed to get version: ${one.error}`,
      );
    }
  }
  return members.every((one) => one.error === null) ? 0 : 1;
}

interface Said {
  readonly server_version?: number;
  readonly pgha?: { readonly version?: string };
  readonly patroni?: { readonly version?: string };
}

/** 150018 -> 15.18 */
const serverVersion = (number: number): string => `${Math.floor(number / 10_000)}.${number % 10_000}`;

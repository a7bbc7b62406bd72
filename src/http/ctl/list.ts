/** `list` and `topology`: the members of one or more clusters, once or again and again. */
import { byUpstream, membersText, type NamedCluster } from './member-table.ts';
import { messageOf, timestamp } from './outcome.ts';
import { exists, type Session } from './session.ts';
import type { Format } from './table.ts';
import { Refusal } from './terminal.ts';

export interface ListOptions {
  readonly extended?: boolean;
  readonly timestamp?: boolean;
  readonly bytes?: boolean;
  readonly format: Format;
  /** -W: every two seconds. */
  readonly W?: boolean;
  /** -w: every so many seconds. */
  readonly watch?: number;
}

const WATCH_SECONDS = 2;

export async function list(session: Session, names: readonly string[], options: ListOptions): Promise<number> {
  return await repeat(session, names, options, (clusters) =>
    membersText(clusters, options.format, { extended: options.extended === true, bytes: options.bytes === true }),
  );
}

export async function topology(
  session: Session,
  names: readonly string[],
  options: Pick<ListOptions, 'W' | 'watch'>,
): Promise<number> {
  return await repeat(session, names, { ...options, format: 'pretty' }, (clusters) =>
    membersText(clusters, 'pretty', { order: byUpstream }),
  );
}

async function repeat(
  session: Session,
  names: readonly string[],
  options: ListOptions,
  render: (clusters: readonly NamedCluster[]) => Promise<string>,
): Promise<number> {
  const { terminal } = session;
  const scopes = names.length === 0 ? [await session.scope(undefined)] : names;
  const pause = options.watch ?? (options.W === true ? WATCH_SECONDS : null);
  const once = async (): Promise<number> => {
    const clusters: NamedCluster[] = [];
    for (const scope of scopes) clusters.push({ scope, view: await session.read(scope) });
    const missing = clusters.filter(({ view }) => !exists(view)).map(({ scope }) => scope);
    if (pause === null && missing.length === scopes.length) {
      throw new Refusal(`There is no cluster ${missing.join(', ')} in etcd.`);
    }
    const drawn = await render(clusters);
    if (pause !== null && terminal.interactive) terminal.out('\x1b[2J\x1b[H');
    if (options.timestamp === true) terminal.out(timestamp(terminal.now()));
    terminal.out(drawn);
    return missing.length === 0 ? 0 : 1;
  };
  if (pause === null) return await once();
  for (;;) {
    // Whoever watches a failover wants to go on watching while etcd elects a leader.
    await once().catch((error: unknown) => terminal.err(messageOf(error)));
    await terminal.sleep(pause * 1000);
  }
}

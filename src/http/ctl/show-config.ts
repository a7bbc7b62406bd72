/** `show-config`: the cluster-wide settings as they stand in etcd. */
import type { Session } from './session.ts';
import { Refusal } from './terminal.ts';

export async function showConfig(
  session: Session,
  name: string | undefined,
  options: { readonly format: 'yaml' | 'json' },
): Promise<number> {
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  if (view.config === null) throw new Refusal(`Cluster ${scope} has no configuration in etcd.`);
  const { stringify } = await import('yaml');
  const { value } = view.config;
  session.terminal.out(options.format === 'json' ? JSON.stringify(value) : stringify(value).trimEnd());
  return 0;
}

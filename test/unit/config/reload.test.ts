import { describe, expect, it } from 'vitest';
import { takeOver } from '../../../src/config/reload.ts';
import { nodeName } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import { aConfig } from '../postgres/place-builder.ts';

describe('a file that is read again', () => {
  const running = aConfig();

  it('takes over what a running daemon can use, and says nothing of it', () => {
    const commands = { ...running.commands, failover: 'failover.sh', failoverTimeout: millis(1_000) };
    const node = { ...running.node, priority: 7, validates: true };
    expect(takeOver(running, { ...running, commands, node })).toEqual({
      config: { ...running, commands, node },
      waiting: [],
    });
  });

  it('leaves name and cluster as the others know them, and says that they wait for the next start', () => {
    const read = {
      ...running,
      scope: 'other',
      node: { ...running.node, name: nodeName('renamed') },
      runtimeDirectory: '/run/pgha/other-renamed',
    };
    const { config, waiting } = takeOver(running, read);
    expect(waiting).toEqual(['scope', 'name']);
    expect(config).toEqual(running);
  });

  it('names an address, a path and the file of the log', () => {
    const { waiting } = takeOver(running, {
      ...running,
      restapi: { ...running.restapi, listen: { host: '10.9.9.9', port: 1 } },
      postgresql: { ...running.postgresql, dataDir: '/elsewhere' },
      log: { ...running.log, file: '/var/log/other.log' },
    });
    expect(waiting).toEqual(['restapi.listen', 'postgresql.data_dir', 'log.file']);
  });
});

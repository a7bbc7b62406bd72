import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MarkerPlace } from '../../../src/postgres/markers.ts';
import { readMarker } from '../../../src/postgres/markers.ts';
import { SystemClock } from '../../../src/system/clock.ts';

describe('the marker in the runtime directory', () => {
  let runtimeDirectory: string;
  const place = (dataDir: string): MarkerPlace => ({
    dataDir,
    runtimeDirectory,
    clock: new SystemClock(),
    log: { write: () => undefined },
  });
  const leave = (text: string): Promise<void> => writeFile(join(runtimeDirectory, 'unfinished'), text);

  beforeEach(async () => {
    runtimeDirectory = await mkdtemp(join(tmpdir(), 'pgha-marker-'));
  });
  afterEach(() => rm(runtimeDirectory, { recursive: true }));

  test('counts for the data directory that it names', async () => {
    await leave(JSON.stringify({ work: 'copy', tablespaces: [], data_directory: '/nowhere/old' }));
    expect(await readMarker(place('/nowhere/old'))).toMatchObject({ work: 'copy' });
  });

  test('does not make another data directory one that may be emptied', async () => {
    await leave(JSON.stringify({ work: 'copy', tablespaces: [], data_directory: '/nowhere/old' }));
    expect(await readMarker(place('/nowhere/new'))).toBeNull();
  });

  test('still counts when only half of it was written', async () => {
    await leave('{"work": "co');
    expect(await readMarker(place('/nowhere/old'))).toMatchObject({ work: 'copy' });
  });
});
